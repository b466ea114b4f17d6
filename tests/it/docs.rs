//! The documents say what the code has.

use std::fs;
use std::path::Path;

use foretell::cli::Cli;
use foretell::control::message::Message;
use foretell::model::gate::Check;
use foretell::observe::table;
use foretell::reject::Reason;

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `FORETELL_BLESS=1` writes the table anew.
#[test]
fn the_table_of_metrics_is_that_of_the_code() {
    let text = document("README.md");
    let begin =
        "<!-- metrics: generated from src/observe/table.rs, compared by tests/it/docs.rs -->\n";
    let (before, rest) = text.split_once(begin).unwrap();
    let (found, after) = rest.split_once("<!-- end of metrics -->").unwrap();
    let wanted = table::markdown();
    if std::env::var_os("FORETELL_BLESS").is_some() {
        let text = format!("{before}{begin}{wanted}<!-- end of metrics -->{after}");
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"), text).unwrap();
        return;
    }
    assert_eq!(found, wanted, "FORETELL_BLESS=1 writes it anew");
}

#[test]
fn the_readme_names_every_reason() {
    let text = document("README.md");
    for reason in Reason::ALL {
        assert!(text.contains(&format!("`{reason}`")), "{reason}");
    }
}

/// What docs/control.md tells people to paste is what instances read, and each type is there.
#[test]
fn the_control_messages_of_the_document_are_read() {
    let text = document("docs/control.md");
    let objects = text.lines().filter_map(|line| Some(&line[line.find("{\"type\"")?..]));
    let kinds: Vec<_> = objects
        .map(|object| match Message::parse(object.as_bytes()) {
            Ok(message) => message.kind(),
            Err(unread) => panic!("{object}: {unread}"),
        })
        .collect();
    for kind in ["retrain-complete", "promote", "rollback", "resume", "retrain-request"] {
        assert!(kinds.contains(&kind), "no example of `{kind}`");
    }
}

#[test]
fn the_control_document_names_every_check() {
    let text = document("docs/control.md");
    for check in Check::ALL {
        assert!(text.contains(&format!("| `{}` |", check.as_str())), "{check:?}");
    }
}

/// Every `foretell …` that a document shows is a command that exists.
#[test]
fn the_commands_of_the_documents_exist() {
    for name in [
        "README.md",
        "Makefile",
        "docker-compose.yml",
        "docs/control.md",
        "docs/security.md",
        "docs/training.md",
        "examples/flights/README.md",
    ] {
        for line in document(name).lines().map(str::trim) {
            let Some(rest) = line.strip_prefix("foretell ") else { continue };
            let words: Vec<&str> = rest.split_whitespace().collect();
            let command = Cli::command();
            let verb = command.find_subcommand(words[0]);
            let verb = verb.unwrap_or_else(|| panic!("{name}: no `foretell {}`", words[0]));
            let (verb, flags) = match verb.find_subcommand(words.get(1).unwrap_or(&"")) {
                Some(nested) => (nested, &words[2..]),
                None => (verb, &words[1..]),
            };
            for flag in flags.iter().filter_map(|word| word.strip_prefix("--")) {
                let flag = flag.split('=').next().unwrap();
                let known = verb.get_arguments().any(|argument| argument.get_long() == Some(flag));
                assert!(known, "{name}: `{line}` has no `--{flag}`");
            }
        }
    }
}

/// Every command and flag has a line of help.
#[test]
fn the_help_says_what_everything_is() {
    fn check(command: &clap::Command) {
        assert!(command.get_about().is_some(), "{} has no help", command.get_name());
        for argument in command.get_arguments() {
            let described = argument.get_help().is_some() || argument.is_positional();
            assert!(described, "{} of {}", argument.get_id(), command.get_name());
        }
        command.get_subcommands().for_each(check);
    }
    check(&Cli::command());
}
