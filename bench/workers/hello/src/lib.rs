//! The least that a Rust worker can do: a constant answer. What our edge takes on top of it is our own.

use worker::{Context, Env, Request, Response, event};

#[event(fetch)]
async fn fetch(_: Request, _: Env, _: Context) -> worker::Result<Response> {
    Response::ok("hello")
}
