//! Damaged files are refused, or are files all the same: nothing in them makes our reading panic.
//! The runtime is not asked: it is another project's, and a crash of it would end all tests.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::facts;

#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Gone(prop::sample::Index),
    Twice(prop::sample::Index),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        match self {
            Self::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Self::Byte(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Gone(at) => {
                bytes.remove(at.index(bytes.len()));
            }
            Self::Twice(at) => {
                let at = at.index(bytes.len());
                bytes.insert(at, bytes[at]);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        1 => index().prop_map(Damage::Cut),
        5 => (index(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        1 => index().prop_map(Damage::Gone),
        1 => index().prop_map(Damage::Twice),
    ]
}

proptest! {
    #[test]
    fn a_damaged_file_is_refused_or_has_columns_but_never_panics(
        damages in prop::collection::vec(damage(), 1..4),
        // Small ones, so that the damage is not always in the numbers: ZipMap, trees of either kind,
        // strings, initializers.
        case in prop::sample::select(vec![
            "logreg-string-zipmap", "tree-ensemble-v5", "pipeline-ordinal", "decision-tree",
            "mlp-fixed-1", "embedding",
        ]),
    ) {
        let path = format!("tests/conformance/onnx-{case}/model.onnx");
        let mut bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        damages.iter().for_each(|damage| damage.apply(&mut bytes));
        if let Ok((columns, _)) = facts(&bytes) {
            prop_assert!(!columns.is_empty());
        }
    }
}
