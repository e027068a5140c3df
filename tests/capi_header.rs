//! `src/capi/include/aei.h` is what cbindgen makes of the C interface. `AEI_WRITE_HEADER=1 cargo test --features capi --test capi_header` writes it.
#![cfg(feature = "capi")]

use std::fs;
use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(root.join("src/capi/cbindgen.toml")).unwrap();
    // The other files of the folder are found through it.
    let builder = cbindgen::Builder::new().with_config(config).with_src(root.join("src/capi/mod.rs"));
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    let path = root.join("src/capi/include/aei.h");
    if std::env::var_os("AEI_WRITE_HEADER").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &header).unwrap();
    }
    assert!(fs::read(&path).unwrap() == header, "src/capi/include/aei.h is not what src/capi says; write it anew as the head of this test tells");
}
