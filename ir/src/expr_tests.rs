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

#[test]
fn conditions_of_blocks_are_those_of_their_numbers() {
    let mut r = Ranges::new();
    r.bind(Var(0), &64.into());
    r.bind(Var(1), &9.into());
    r.bind(Var(2), &9.into());
    let phase = |n: u32| v(n).rem(2);
    // Channels of the first of four phases, of the last one, and of those from the second on.
    let first = Expr::from(63) - v(0) - phase(1) * 128 - phase(2) * 64;
    assert_eq!(first.conditions(&r), [-phase(1), -phase(2)]);
    let last = v(0) + phase(1) * 128 + phase(2) * 64 - 192;
    assert_eq!(last.conditions(&r), [phase(1) - 1, phase(2) - 1]);
    let others = v(0) + phase(1) * 128 + phase(2) * 64 - 64;
    assert_eq!(others.conditions(&r), [phase(1) * 2 + phase(2) - 1]);
    // What cuts a block says all that it said.
    let cut = Expr::from(40) - v(0) - phase(1) * 128;
    assert_eq!(cut.conditions(&r), std::slice::from_ref(&cut));
    assert_eq!((v(0) + 3).conditions(&r), []);
    // The same numbers satisfy both.
    for (a, b, c) in (0..64).flat_map(|a| (0..4).map(move |p| (a, p / 2, p % 2))) {
        let at = |e: &Expr| {
            let value = |v: Var| Some(Expr::from([a, b, c][v.0 as usize]));
            e.substitute(&value).as_const().unwrap() >= 0
        };
        for cond in [&first, &last, &others, &cut] {
            assert_eq!(at(cond), cond.conditions(&r).iter().all(at), "{cond}");
        }
    }
}

#[test]
fn conditions_narrow_what_they_name() {
    let mut r = Ranges::new();
    r.bind(Var(0), &64.into());
    r.bind(Var(1), &48.into());
    let block = v(0).rem(4);
    let at = block.clone() * 48 + v(1);
    assert_ne!(at.rem(148).simplify(&r), at);
    let mut whole = r.clone();
    whole.assume(&(block.clone() * -48 + 100));
    assert_eq!(whole.bounds(&block), (0, 2));
    assert_eq!(at.rem(148).simplify(&whole), at);
    r.assume(&(block.clone() * 48 - 101));
    assert_eq!(r.bounds(&block), (3, 3));
}
