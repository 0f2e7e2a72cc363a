//! Every file of the fuzz corpora is tried in every run of the tests: seeds, and inputs that once broke a promise.

// Its public items are for the fuzz targets.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod fuzzed;

use std::fs;
use std::path::Path;

/// Try every file of a corpus; return their number.
fn try_all(target: &str, attempt: fn(&[u8])) -> usize {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut names: Vec<_> = fs::read_dir(corpus)
        .expect("a corpus")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    for name in &names {
        eprintln!("{}", name.display());
        attempt(&fs::read(name).expect("a file"));
    }
    names.len()
}

#[test]
fn every_path_and_every_chunk_says_the_same_of_the_corpus() {
    assert!(try_all("scan", fuzzed::scan::attempt) > 20);
}

#[test]
fn every_compressed_file_of_the_corpus_has_its_verdict() {
    assert!(try_all("gzip", fuzzed::gzip::attempt) > 10);
}

#[test]
fn every_stored_ledger_of_the_corpus_loads_or_is_refused() {
    assert!(try_all("blob", fuzzed::blob::attempt) > 10);
}

#[test]
fn every_call_over_the_corpus_adds_up() {
    assert!(try_all("process", fuzzed::process::attempt) > 10);
}

#[test]
fn every_split_of_the_corpus_joins_or_is_refused() {
    assert!(try_all("split", fuzzed::split::attempt) > 10);
}
