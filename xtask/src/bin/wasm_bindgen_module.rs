//! Turns the compiled edge crate into an ES module and its Wasm; knows nothing about workers or their entry points.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [input, out_dir] = arguments.as_slice() else {
        bail!("usage: wasm-bindgen-module <input.wasm> <output directory>");
    };
    Bindgen::new()
        .input_path(input)
        .out_name("index")
        .module(true)?
        .typescript(false)
        // After a Rust panic the Wasm instance is unusable; these two let the entry module make a fresh one.
        .reset_state_function(true)
        .force_enable_abort_handler(true)
        .generate(out_dir)
        .with_context(|| format!("wasm-bindgen on {}", input.display()))
}
