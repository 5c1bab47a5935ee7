//! Elements at places out of data.
mod common;

use common::{check, iota, ty};
use tensmith_ir::dtype::DType;
use tensmith_ir::graph::{Attrs, Graph, TensorType};
use tensmith_ir::loops::{Mark, Stmt};
use tensmith_ir::ops::op;
use tensmith_ir::tensor::Tensor;

fn in_lock_step(stmts: &[Stmt]) -> bool {
    stmts.iter().any(|s| {
        let own = matches!(s, Stmt::For(l) if l.mark == Mark::Jam);
        own || s.bodies().into_iter().any(|b| in_lock_step(b))
    })
}

/// Rows that read the same places, whole blocks of them and what is left.
#[test]
fn rows_share_checks_of_their_places() {
    for rows in [3, 8, 13] {
        let mut g = Graph::default();
        let x = g.add_input("x", ty(&[rows, 50]));
        let places = g.add_input("i", TensorType::new(DType::I64, vec![21.into()]));
        let attrs = Attrs::new().with("axis", 1i64);
        let y = g.add_one(op("gather"), "y", &[x, places], attrs).unwrap();
        g.add_output("y", y);
        let at: Vec<i64> = (0..21).map(|k| k * k % 50 - 25 * (k % 2)).collect();
        let plan = check(&g, &[iota(&[rows, 50]), Tensor::from_i64(vec![21], &at)]);
        let found = plan.kernels.iter().any(|k| in_lock_step(&k.body));
        assert_eq!(found, rows >= 4, "{rows} rows");
    }
}
