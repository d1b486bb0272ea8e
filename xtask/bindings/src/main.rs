//! Turns a compiled crate into an ES module and its Wasm; knows nothing about who imports them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wasm_bindgen_cli_support::Bindgen;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [host, name, input, out_dir] = arguments.as_slice() else {
        bail!("usage: wasm-bindgen-module worker|any <module name> <input.wasm> <output directory>");
    };
    let mut bindgen = Bindgen::new();
    bindgen.input_path(input).out_name(name.to_str().context("a module name is UTF-8")?);
    match host.to_str() {
        Some("worker") => bindgen
            .module(true)?
            .typescript(false)
            // After a Rust panic the Wasm instance is unusable; these two let the entry module make a fresh one.
            .reset_state_function(true)
            .force_enable_abort_handler(true),
        // Browsers fetch the Wasm from beside the module; the other hosts bring it.
        Some("any") => bindgen.typescript(true).web(true)?.omit_default_module_path(false),
        _ => bail!("{} is not a host, expected worker or any", host.display()),
    };
    bindgen.generate(out_dir).with_context(|| format!("wasm-bindgen on {}", input.display()))
}
