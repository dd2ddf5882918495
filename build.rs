//! Tells the program which commit it is built of: that of the checkout, or `TIDEGATE_COMMIT` where
//! there is none (a source archive, a container). Debug builds say `debug`, so that a commit doesn't
//! build everything anew.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=TIDEGATE_COMMIT");
    let said = std::env::var("TIDEGATE_COMMIT").ok();
    let is_debug = std::env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    let commit = match said.filter(|said| !said.is_empty()) {
        Some(said) => said,
        None if is_debug => "debug".to_owned(),
        None => read_commit().unwrap_or_else(|| "unknown commit".to_owned()),
    };
    println!("cargo::rustc-env=TIDEGATE_COMMIT={commit}");
}

fn read_commit() -> Option<String> {
    let head = ask_git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&head).exists() {
        println!("cargo::rerun-if-changed={head}");
    }
    ask_git(&["rev-parse", "--short=12", "HEAD"])
}

fn ask_git(arguments: &[&str]) -> Option<String> {
    let answer = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(answer.stdout).ok()?.trim().to_owned();
    (answer.status.success() && !text.is_empty()).then_some(text)
}
