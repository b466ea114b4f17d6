//! Damaged files are refused, or are files all the same: nothing in them makes our reading panic.
//! The runtime is not asked: it is another project's, and a crash of it would end all tests.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::facts;
use crate::model::damage::damages;

proptest! {
    #[test]
    fn a_damaged_file_is_refused_or_has_columns_but_never_panics(
        damages in damages(),
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
