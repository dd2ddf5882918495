//! What the command line says of itself.

use std::process::{Command, Output};

fn tidegate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).output().unwrap()
}

fn said(arguments: &[&str]) -> String {
    let output = tidegate(arguments);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_has_the_exit_codes_and_examples_and_the_version_a_commit() {
    let help = said(&["--help"]);
    for wanted in [
        "Exit codes:",
        "Examples:",
        "  2  it failed at run time",
        "completions",
    ] {
        assert!(help.contains(wanted), "{wanted}: {help}");
    }
    let letters = said(&["dead-letters", "--help"]);
    assert!(
        letters.contains("--credential-file new-token.txt"),
        "{letters}"
    );
    let version = said(&["--version"]);
    let (number, commit) = version.trim().split_once(" (").unwrap();
    assert_eq!(number, format!("tidegate {}", env!("CARGO_PKG_VERSION")));
    assert!(commit.len() > 4 && commit.ends_with(')'), "{version}");
}

#[test]
fn shells_are_told_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["completions", shell]);
        for command in ["dead-letters", "explain", "parity", "completions"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    // Who reads it has gone.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = command
        .args(["completions", "bash"])
        .stdout(writer)
        .status();
    assert_eq!(ended.unwrap().code(), Some(0));
    let wrong = tidegate(&["completions", "csh"]);
    assert_eq!(wrong.status.code(), Some(1));
    let text = String::from_utf8_lossy(&wrong.stderr);
    assert!(text.contains("possible values: bash"), "{text}");
}

#[test]
fn each_command_has_a_page_of_the_manual() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("man1");
    let listed = said(&["man", place.to_str().unwrap()]);
    for name in ["tidegate", "tidegate-run", "tidegate-dead-letters-replay"] {
        let file = place.join(format!("{name}.1"));
        assert!(listed.contains(&*file.to_string_lossy()), "{listed}");
        let page = std::fs::read_to_string(&file).unwrap();
        assert!(page.contains(&format!(".TH {name} 1")), "{page}");
    }
    let page = std::fs::read_to_string(place.join("tidegate.1")).unwrap();
    assert!(page.contains("Exit codes"), "{page}");
}
