use super::*;

fn v(n: u32) -> Expr {
    Expr::var(Var(n))
}

fn batch() -> Expr {
    Expr::size(Symbol::new("batch"))
}

#[test]
fn canonical_forms_are_equal() {
    assert_eq!((v(0) + 1) * 2, v(0) * 2 + 2);
    assert_eq!(v(0) * v(1) - v(1) * v(0), Expr::from(0));
    assert_eq!((batch() * 12).div(12), batch());
    assert_eq!((batch() * 12).div(batch()), Expr::from(12));
    assert_eq!((batch() * 8 + 3).rem(4), Expr::from(3));
}

#[test]
fn ranges_resolve_blocked_indices() {
    let mut r = Ranges::new();
    r.bind(Var(0), &5.into());
    r.bind(Var(1), &8.into());
    let i = v(0) * 8 + v(1);
    assert_eq!(i.div(8).simplify(&r), v(0));
    assert_eq!(i.rem(8).simplify(&r), v(1));
}

#[test]
fn symbolic_extents_prove_bounds() {
    let mut r = Ranges::new();
    r.bind(Var(0), &batch());
    r.bind(Var(1), &10.into());
    let flat = v(0) * 10 + v(1);
    assert!(r.proves_le(&flat, &(batch() * 10 - 1)));
    assert!(!r.proves_le(&(flat + 1), &(batch() * 10 - 1)));
}

#[test]
fn display_is_readable() {
    assert_eq!((v(0) * 4 - v(1) - 1).to_string(), "4*i0 - i1 - 1");
    assert_eq!(batch().div(4).to_string(), "div($batch, 4)");
}

#[test]
fn arithmetic_saturates() {
    let big = batch() * i64::MAX;
    assert_eq!((big.clone() * 2), big);
}

#[test]
fn substitution_keeps_minima_and_maxima() {
    let clamped = Expr::at_least(&Expr::at_most(&v(0), batch()), 0);
    let shifted = clamped.substitute(&|_| Some(v(1) - 2));
    assert_eq!(
        shifted,
        Expr::at_least(&Expr::at_most(&(v(1) - 2), batch()), 0)
    );
    assert_eq!(shifted.simplify(&Ranges::new()), shifted);
}
