//! Has the linker put side by side what is needed to serve and to start, in the profile that is packaged and measured.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=layout.ld");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    // Cargo tells neither a script which profile it builds for (dist is a kind of release) nor the linker what a profile
    // wants, so that the folder has to say it: PROFILE/build/transom-HASH/out.
    let folder = variable("OUT_DIR");
    let profile = Path::new(&folder).ancestors().nth(3);
    let is_dist = profile.is_some_and(|profile| profile.ends_with("dist"));
    if is_dist && variable("CARGO_CFG_TARGET_OS") == "linux" {
        let layout = Path::new(&variable("CARGO_MANIFEST_DIR")).join("layout.ld");
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{}", layout.display());
    }
}
