//! The C99 header of an object file.
use std::fmt::Write;
use tensmith_ir::plan::{Plan, Port};

/// Declares what [`crate::object::write_object`] defines, with a comment for each input,
/// output and size.
pub fn c_header(plan: &Plan, name: &str) -> String {
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
    let _ = write!(
        out,
        "/* Bytes of arena and scratch memory that a run takes, at least; -1 if a size is out of its range.\n \
         * Memory of 0 bytes may be a null pointer; other memory is aligned to 64 bytes. A model without\n \
         * sizes takes a null pointer for them. */\n\
         int64_t {name}_arena_bytes(const int64_t *sizes);\n\
         int64_t {name}_scratch_bytes(const int64_t *sizes);\n\n\
         /* Runs the model on the calling thread. Returns 0, or the code of the first run-time error:\n \
         * 1 an index out of range, 2 a size that does not fit, 3 too little room, 4 division by 0.\n \
         * inputs and outputs are tables of addresses, in the order above.\n \
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
