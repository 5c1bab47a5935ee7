//! The C99 header of an object file.
use std::fmt::Write;
use tensmith_ir::expr::{Atom, Expr};
use tensmith_ir::plan::{Plan, Port};

/// Declares what [`crate::object::write_object`] defines, with a comment for each input and
/// output and functions for the bytes of arena and scratch memory.
pub fn c_header(plan: &Plan, scratch_bytes: &Expr, name: &str) -> String {
    let guard = format!("{}_H", name.to_uppercase());
    let mut out = format!(
        "#ifndef {guard}\n#define {guard}\n#include <stdint.h>\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n"
    );
    let ports = |title: &str, ports: &[Port]| {
        let rows = ports
            .iter()
            .enumerate()
            .map(|(k, p)| format!(" *   [{k}] \"{}\": {}\n", comment_text(&p.name), p.ty));
        format!(
            " * {title}, dense, row-major:\n{}",
            rows.collect::<String>()
        )
    };
    let _ = write!(
        out,
        "/* {}\n{}{}",
        comment_text(&plan.name),
        ports("inputs", &plan.inputs),
        ports("outputs", &plan.outputs)
    );
    for (k, size) in plan.sizes.iter().enumerate() {
        let _ = writeln!(
            out,
            " * sizes[{k}]: {} in {}..={}",
            size.symbol.name(),
            size.min,
            size.max
        );
    }
    out.push_str(" */\n\n");
    for (what, bytes) in [("arena", &plan.arena_bytes), ("scratch", scratch_bytes)] {
        let _ = writeln!(
            out,
            "/* Bytes of {what} memory (64-byte aligned) that a run needs. */"
        );
        let body = c_expr(bytes, plan);
        let _ = writeln!(
            out,
            "static inline int64_t {name}_{what}_bytes(const int64_t *sizes) {{\n  (void)sizes;\n  return {body};\n}}\n"
        );
    }
    let _ = write!(
        out,
        "/* Runs the model on the calling thread. Returns 0, or the code of the first run-time error:\n \
         * 1 an index out of range, 2 a size that does not fit, 3 too little room, 4 division by 0.\n \
         * Has no state: may run at the same time on other memory. */\n\
         int {name}_run(const void *const *inputs, void *const *outputs, const int64_t *sizes,\n    \
         void *arena, void *scratch);\n\n#ifdef __cplusplus\n}}\n#endif\n#endif\n"
    );
    out
}

/// Names come from the model: they must not end the comment or the line.
fn comment_text(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_graphic() && c != '*' && c != '\\' {
                c
            } else {
                '_'
            }
        })
        .collect()
}

fn c_expr(e: &Expr, plan: &Plan) -> String {
    let mut out = format!("INT64_C({})", e.constant());
    for (atoms, coef) in e.terms() {
        let factors: Vec<String> = atoms.iter().map(|a| c_atom(a, plan)).collect();
        let _ = write!(out, " + INT64_C({coef}) * {}", factors.join(" * "));
    }
    out
}

fn c_atom(atom: &Atom, plan: &Plan) -> String {
    let both = |p: &(Expr, Expr)| {
        (
            format!("({})", c_expr(&p.0, plan)),
            format!("({})", c_expr(&p.1, plan)),
        )
    };
    match atom {
        Atom::Size(s) => match plan.sizes.iter().position(|p| p.symbol == *s) {
            Some(k) => format!("sizes[{k}]"),
            None => "0".into(),
        },
        Atom::Var(_) => "0".into(),
        // Sizes are never negative here, so C's division rounds as ours does.
        Atom::Div(p) => {
            let (a, b) = both(p);
            format!("({a} / {b})")
        }
        Atom::Mod(p) => {
            let (a, b) = both(p);
            format!("({a} % {b})")
        }
        Atom::Min(p) => {
            let (a, b) = both(p);
            format!("({a} < {b} ? {a} : {b})")
        }
        Atom::Max(p) => {
            let (a, b) = both(p);
            format!("({a} > {b} ? {a} : {b})")
        }
    }
}
