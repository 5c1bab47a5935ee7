use super::*;
use crate::expr::{Expr, Var};
use proptest::prelude::*;

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        (-100i64..100).prop_map(Expr::from),
        (0u32..4).prop_map(|v| Expr::var(Var(v))),
        prop_oneof!["n", "batch"].prop_map(|s| Expr::size(Symbol::new(&s))),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        let two = (inner.clone(), inner);
        let divisor = 1i64..20;
        prop_oneof![
            two.clone().prop_map(|(a, b)| a + b),
            two.clone().prop_map(|(a, b)| a - b),
            two.clone().prop_map(|(a, b)| a * b),
            (two.clone(), divisor.clone()).prop_map(|((a, _), d)| a.div(d)),
            (two.clone(), divisor).prop_map(|((a, _), d)| a.rem(d)),
            two.clone().prop_map(|(a, b)| a.div(b)),
            two.clone().prop_map(|(a, b)| a.rem(b)),
            two.clone().prop_map(|(a, b)| Expr::at_most(&a, b)),
            two.prop_map(|(a, b)| Expr::at_least(&a, b)),
        ]
    })
}

fn read(text: &str) -> Result<Expr, TextError> {
    let mut lexer = Lexer::new(text);
    let e = parse_expr(&mut lexer)?;
    lexer.expect_end()?;
    Ok(e)
}

proptest! {
    #[test]
    fn expressions_read_back(e in expr()) {
        prop_assert_eq!(read(&e.to_string()), Ok(e));
    }

    #[test]
    fn floats_read_back(bits: u64) {
        let x = f64::from_bits(bits);
        let text = show_float(x);
        let back = Lexer::new(&text).float().expect("a float");
        prop_assert!(back.to_bits() == bits || (x.is_nan() && back.is_nan()));
    }

    #[test]
    fn strings_read_back(text: String) {
        prop_assert_eq!(Lexer::new(&show_string(&text)).string(), Ok(text));
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let mut lexer = Lexer::new(&text);
        while lexer.take().is_ok_and(|t| t != Token::End) {}
        let _ = read(&text);
    }
}

#[test]
fn tokens() {
    let text = "for %a.0: f32[2, $n] // rest\n <= 1.5e-3 ..= \"x\\\"y\" 0x1f 3f32";
    let mut lexer = Lexer::new(text);
    let mut found = Vec::new();
    loop {
        match lexer.take().expect("a token") {
            Token::End => break,
            token => found.push(token),
        }
    }
    use Token::*;
    let want = [
        Word("for"),
        Name("a.0"),
        Punct(":"),
        Word("f32"),
        Punct("["),
        Int(2),
        Punct(","),
        Size("n"),
        Punct("]"),
        Punct("<="),
        Float("1.5e-3"),
        Punct("..="),
        Str("x\\\"y"),
        Int(31),
        Int(3),
        Word("f32"),
    ];
    assert_eq!(found, want);
}

#[test]
fn errors_name_the_place() {
    let mut lexer = Lexer::new("a\n  b §");
    assert_eq!(lexer.word(), Ok("a"));
    let error = lexer.expect("{").expect_err("a word is ahead");
    assert_eq!(
        error.to_string(),
        "line 2, column 3: expected `{`, found `b`"
    );
    assert_eq!(lexer.word(), Ok("b"));
    assert_eq!(lexer.peek().expect_err("no token").column, 5);
    assert!(read(&"(".repeat(100_000)).is_err());
    assert!(read("div(1)").is_err());
    assert!(read("9223372036854775808").is_err());
    assert_eq!(read("-9223372036854775808"), Ok(Expr::from(i64::MIN)));
}
