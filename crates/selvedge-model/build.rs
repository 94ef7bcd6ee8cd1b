//! Tells rustdoc of `--cfg loom`, which cargo passes on to rustc alone: the
//! examples in the docs are real programs and do not run inside a model, so
//! `lib.rs` leaves everything out when rustdoc collects them in such a build.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var_os("CARGO_CFG_LOOM").is_some() {
        println!("cargo::rustc-cfg=loom");
    }
}
