//! Whether all iterations of a loop, and of those in it, write elements of their own.
use tensmith_ir::expr::{Expr, Ranges, Var};
use tensmith_ir::integer::gcd;
use tensmith_ir::loops::{BufferId, For, Kernel, Scope, Stmt};

/// A loop as a digit of an offset: the stride, and how many steps it takes.
type Digit = (i64, i64);

/// A store in a loop: its offset, and the loops from that loop on that it is in.
struct Write {
    buffer: BufferId,
    offset: Expr,
    loops: Vec<(Var, Option<i64>)>,
}

/// Whether no element of memory is written twice by all iterations of a loop together.
pub fn writes_are_distinct(kernel: &Kernel, l: &For) -> bool {
    let mut writes = Vec::new();
    let ranges = kernel.all_ranges();
    collect(kernel, &ranges, l, &mut vec![], &mut writes);
    let alone = writes.iter().all(|w| alone(w).is_some_and(is_number));
    let pairs = |k: usize| writes[k + 1..].iter().map(move |w| (k, w));
    let mut pairs = (0..writes.len()).flat_map(pairs);
    alone && pairs.all(|(k, b)| writes[k].buffer != b.buffer || apart(&writes[k], b))
}

fn collect(
    kernel: &Kernel,
    ranges: &Ranges,
    l: &For,
    around: &mut Vec<(Var, Option<i64>)>,
    writes: &mut Vec<Write>,
) {
    around.push((l.var, l.extent.as_const()));
    collect_list(kernel, ranges, &l.body, around, writes);
    around.pop();
}

fn collect_list(
    kernel: &Kernel,
    ranges: &Ranges,
    stmts: &[Stmt],
    around: &mut Vec<(Var, Option<i64>)>,
    writes: &mut Vec<Write>,
) {
    for stmt in stmts {
        match stmt {
            Stmt::For(l) => collect(kernel, ranges, l, around, writes),
            Stmt::Store { buffer, index, .. }
                if kernel.buffer(*buffer).scope != Scope::Register =>
            {
                writes.push(Write {
                    buffer: *buffer,
                    offset: kernel.buffer(*buffer).offset(index).simplify(ranges),
                    loops: around.clone(),
                });
            }
            other => {
                for body in other.bodies() {
                    collect_list(kernel, ranges, body, around, writes);
                }
            }
        }
    }
}

/// The digits of a store's loops.
fn alone(write: &Write) -> Option<Vec<Digit>> {
    write.loops.iter().map(|l| digit(write, *l)).collect()
}

fn digit(write: &Write, (var, extent): (Var, Option<i64>)) -> Option<Digit> {
    let stride = write.offset.linear_coefficient(var)?.as_const()?;
    Some((stride, extent.unwrap_or(i64::MAX)))
}

/// Whether different digits make different numbers: each stride is longer than all that shorter
/// ones reach.
fn is_number(mut digits: Vec<Digit>) -> bool {
    digits.sort_unstable();
    let mut reach = 0_i64;
    digits.into_iter().all(|(stride, extent)| {
        let apart = stride > reach;
        reach = reach.saturating_add(stride.saturating_mul(extent.saturating_sub(1)));
        apart
    })
}

/// Whether two stores never write the same element, in whatever iterations. What the loops of only
/// one of them add lies in ranges that do not meet; as one more digit, both ranges together must
/// make numbers with the loops around both.
fn apart(a: &Write, b: &Write) -> bool {
    joined_digits(a, b).is_some_and(is_number)
}

fn joined_digits(a: &Write, b: &Write) -> Option<Vec<Digit>> {
    let common = a.loops.iter().zip(&b.loops).take_while(|(x, y)| x == y);
    let common = common.count();
    let mut digits = Vec::new();
    for l in &a.loops[..common] {
        let pair = (digit(a, *l)?, digit(b, *l)?);
        (pair.0 == pair.1).then(|| digits.push(pair.0))?;
    }
    let zero = |w: &Write| {
        let at = w.loops.iter().map(|(v, _)| *v).collect::<Vec<_>>();
        w.offset.substitute(&|v| at.contains(&v).then(|| 0.into()))
    };
    let distance = (zero(b) - zero(a)).as_const()?;
    let mut granule = distance.abs();
    let mut reach = [0_i64; 2];
    for (w, reach) in [a, b].into_iter().zip(&mut reach) {
        for l in &w.loops[common..] {
            let (stride, extent) = digit(w, *l)?;
            (stride >= 0).then_some(())?;
            granule = gcd(granule, stride);
            let steps = extent.saturating_sub(1).max(0);
            *reach = reach.saturating_add(stride.saturating_mul(steps));
        }
    }
    let [first, second] = [(0, reach[0]), (distance, distance.saturating_add(reach[1]))];
    let meet = first.0 <= second.1 && second.0 <= first.1;
    if meet || granule == 0 {
        return None;
    }
    let span = first.1.max(second.1).saturating_sub(first.0.min(second.0));
    digits.push((granule, (span / granule).saturating_add(1)));
    Some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tensmith_ir::loops::parse_kernel;

    fn distinct(body: &str) -> bool {
        let text = format!("kernel k() {{ out o: f32[100, 8] {body} }}");
        let kernel = parse_kernel(&text).unwrap();
        let Stmt::For(l) = &kernel.body[0] else {
            panic!("no loop: {text}")
        };
        writes_are_distinct(&kernel, l)
    }

    #[test]
    fn each_iteration_has_elements_of_its_own() {
        assert!(distinct("for i0 < 100 space { o[i0, 0] = 0.0f32 }"));
        assert!(distinct(
            "for i0 < 8 space { for i1 < 9 space { o[i1, i0] = 0.0f32 } }"
        ));
        assert!(!distinct("for i0 < 8 space { o[0, 0] = 0.0f32 }"));
        assert!(!distinct(
            "for i0 < 8 space { for i1 < 9 space { o[i0 + i1, 0] = 0.0f32 } }"
        ));
    }

    #[test]
    fn several_stores_must_not_meet() {
        let two = |first: &str, second: &str| {
            distinct(&format!(
                "for i0 < 8 space {{ for i1 < 9 space {{ o[{first}, i0] = 0.0f32 }} \
                 for i2 < 7 space {{ o[{second}, i0] = 0.0f32 }} }}"
            ))
        };
        assert!(two("i1", "i2 + 9"));
        assert!(two("i1 + 20", "i2"));
        assert!(!two("i1", "i2 + 8"));
        assert!(!two("i1", "i2"));
        // A row of one store is that of another one in the next iteration.
        assert!(!distinct(
            "for i0 < 8 space { o[i0, 0] = 0.0f32 o[i0 + 1, 0] = 0.0f32 }"
        ));
        assert!(distinct(
            "for i0 < 8 space { o[2*i0, 0] = 0.0f32 o[2*i0 + 1, 0] = 0.0f32 }"
        ));
    }
}
