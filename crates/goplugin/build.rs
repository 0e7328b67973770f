//! Generates the plugin protocol's own services, and those of the examples and tests, without `protoc`.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=examples/proto");
    generate("proto", &["plugin.proto"], "plugin.bin")?;
    let examples = ["kv.proto", "counter.proto", "streamer.proto"];
    generate("examples/proto", &examples, "examples.bin")?;
    generate("examples/proto", &["grpctest.proto"], "grpctest.bin")?;
    Ok(())
}

/// Compiles `files` of `folder` and leaves their descriptors, which reflection serves, in `descriptors`.
fn generate(
    folder: &str,
    files: &[&str],
    descriptors: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let set = protox::compile(files, [folder])?;
    std::fs::write(out.join(descriptors), set.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .compile_fds(set)?;
    Ok(())
}
