//! Every committed input, on every toolchain.

use std::{fs, path::Path};

#[test]
fn every_input_of_every_corpus_holds() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in sidle_fuzz::TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpora.join(name))
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(!inputs.is_empty(), "{name} has an empty corpus");
        for input in inputs {
            let result = std::panic::catch_unwind(|| run(&fs::read(&input).unwrap()));
            assert!(result.is_ok(), "{}", input.display());
        }
    }
}
