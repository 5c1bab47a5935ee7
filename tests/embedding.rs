//! The C example of the page for authors of runtimes; those in Rust are tests of the documentation.
mod support;

use std::path::Path;
use std::process::Command;
use support::{digits, symbolic};
use tensmith::{compile, native};

/// The text of the first block of C on the page.
fn example() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/embedding.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```c\n").expect("there is a block of C");
    let (text, _) = rest.split_once("```").expect("it ends");
    text.to_string()
}

#[test]
fn the_c_example_compiles_and_gives_the_same_bits_on_its_threads() {
    let options = symbolic(1);
    let imported = digits().import(&options).unwrap();
    let plan = compile::plan(&imported.graph, &options).unwrap();
    for file in ["digits.o", "libdigits.a"] {
        let folder = tempfile::tempdir().unwrap();
        native::write(&plan, &options, &folder.path().join(file)).unwrap();
        std::fs::write(folder.path().join("main.c"), example()).unwrap();
        let cc = Command::new("cc")
            .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pthread"])
            .args(["main.c", file, "-o", "main"])
            .current_dir(folder.path())
            .output()
            .expect("a C compiler");
        assert!(
            cc.status.success(),
            "{}",
            String::from_utf8_lossy(&cc.stderr)
        );
        let out = Command::new(folder.path().join("main")).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{file}");
        let first: f32 = String::from_utf8(out.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        assert!(first.is_finite());
    }
}
