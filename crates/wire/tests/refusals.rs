//! Every word of a refusal has its row in docs/refusals.md, and the row says what is so.
use pointsman_wire::http1::Reason;
use std::{collections::BTreeMap, fs, path::Path};

#[test]
fn every_reason_has_its_row() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/refusals.md");
    let text = fs::read_to_string(path).expect("the page");
    let mut rows: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        if let [word, status, sentence] = cells.as_slice() {
            let word = word.trim_matches('`');
            let other = rows.insert(word, vec![status, sentence]);
            assert_eq!(other, None, "{word} has two rows");
        }
    }
    for reason in Reason::ALL {
        let status = reason.status().to_string();
        let row = rows.remove(reason.as_str());
        assert_eq!(row, Some(vec![&*status, reason.sentence()]), "{reason}");
    }
}
