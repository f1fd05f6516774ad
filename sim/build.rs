//! Writes down which marks, plants and sites of legal deviations the source of core and driver names: one macro and one name a line.
//!
//! Invariant: what stands in comments is not among them, nor what `marks.rs` says of the macros themselves.

use std::path::{Path, PathBuf};

/// The macros whose names count.
const MACROS: [&str; 3] = ["sometimes", "planted", "buggify"];

/// Where the code is that runs in both worlds.
const MARKED: [&str; 2] = ["../core/src", "../real-runtime/src/driver"];

fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    for folder in MARKED {
        println!("cargo::rerun-if-changed={folder}");
        files.extend(sources(Path::new(folder))?);
    }
    let mut lines = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("marks.rs")) {
        let text = std::fs::read_to_string(file)?;
        let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).flat_map(|l| [l, "\n"]).collect();
        for name in MACROS {
            let call = format!("{name}!(");
            let calls = code.split(&call).skip(1).map(str::trim_start);
            let named = calls.filter_map(|rest| rest.strip_prefix('"')?.split('"').next());
            lines.extend(named.map(|text| format!("{name} {text}\n")));
        }
    }
    lines.sort();
    lines.dedup();
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from).expect("cargo says where to write");
    std::fs::write(out.join("marks.txt"), lines.concat())
}

/// Every source file below a folder.
fn sources(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}
