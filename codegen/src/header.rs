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
    out.push_str(&DECLARATIONS.replace("NAME", name));
    out
}

/// What every header declares, for a model called NAME.
const DECLARATIONS: &str = r#"/* Bytes of arena memory, and of scratch memory of one thread, that a run takes, at least; -1 if a
 * size is out of its range. Memory of 0 bytes may be a null pointer; other memory is aligned to 64
 * bytes. A model without sizes takes a null pointer for them. */
int64_t NAME_arena_bytes(const int64_t *sizes);
int64_t NAME_scratch_bytes(const int64_t *sizes);

/* Runs the model on the calling thread. Returns 0, or the code of the first run-time error:
 * 1 an index out of range, 2 a size that does not fit, 3 too little room, 4 division by 0.
 * inputs and outputs are tables of addresses, in the order above.
 * Has no state: may run at the same time on other memory. */
int NAME_run(const void *const *inputs, void *const *outputs, const int64_t *sizes,
    void *arena, void *scratch);

/* Calls body(arg, part) exactly once for each part in 0..parts, on any threads, at the same time
 * or one after another, in any order; returns after all calls have returned, and what they wrote
 * is then visible to the calling thread. user is what was passed to NAME_run_parallel. */
typedef void (*NAME_parallel_for)(void *user, void (*body)(void *arg, uint32_t part), void *arg,
    uint32_t parts);

/* Runs the model on the calling thread, which hands out parallel work through parallel_for, in at
 * most `threads` parts at a time (1 to 1024; others are taken as the nearest of these). The bits
 * of the results are those of NAME_run if all threads round alike. scratch is `threads` times
 * NAME_scratch_bytes. A null parallel_for stands for one thread.
 * Returns what NAME_run does, further 6 if parallel_for left out a part, 7 if it ran one twice or
 * one that does not exist. It must not call body after it has returned. */
int NAME_run_parallel(const void *const *inputs, void *const *outputs, const int64_t *sizes,
    void *arena, void *scratch, NAME_parallel_for parallel_for, void *user, uint32_t threads);

#ifdef __cplusplus
}
#endif
#endif
"#;

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
