//! Matrix products: all become contractions with a letter per axis.
use std::collections::BTreeMap;

use tensmith_ir::expr::Expr;
use tensmith_ir::graph::ValueId;

use super::cx::Cx;
use super::registry::{OpImport, onnx};
use super::value::{Val, one};
use crate::error::Result;
use crate::proto::NodeProto;

type Vals = Result<Vec<Val>>;

pub(crate) const OPS: &[OpImport] = &[
    onnx("MatMul", |cx, node| {
        let (a, b) = (cx.input(node, 0)?, cx.input(node, 1)?);
        mat_mul(cx, a, b).map(one)
    }),
    onnx("Gemm", gemm),
    onnx("Einsum", einsum),
];

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The product of NumPy's `matmul`: batch axes broadcast, vectors are rows or columns.
pub(crate) fn mat_mul(cx: &mut Cx<'_>, a: ValueId, b: ValueId) -> Result<ValueId> {
    let (rank_a, rank_b) = (cx.rank(a), cx.rank(b));
    if rank_a == 0 || rank_b == 0 {
        return Err(cx.invalid("a scalar operand"));
    }
    // Batch axes broadcast; the summed one does not.
    let (rows, columns) = (cx.shape(a), cx.shape(b));
    let terms = &columns[rank_b.saturating_sub(2)];
    cx.check_extent(
        "the last axis of the first operand",
        &rows[rank_a - 1],
        terms,
    )?;
    let batch = rank_a.max(rank_b).saturating_sub(2);
    if batch > 40 {
        return Err(cx.unsupported(format!("{batch} batch axes")));
    }
    let letters = |rank: usize, own: &str, row: &str| {
        let first = batch - rank.saturating_sub(2);
        let tail = if rank == 1 { row } else { own };
        [&LETTERS[first..batch], tail.as_bytes()].concat()
    };
    let mut out = LETTERS[..batch].to_vec();
    out.extend((rank_a > 1).then_some(b'X'));
    out.extend((rank_b > 1).then_some(b'Z'));
    let a = (a, letters(rank_a, "XY", "Y"));
    let b = (b, letters(rank_b, "YZ", "Y"));
    contract_all(cx, vec![a, b], out)
}

fn gemm(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let (a, b, c) = (
        cx.input(node, 0)?,
        cx.input(node, 1)?,
        cx.optional(node, 2)?,
    );
    let left = if node.attr_bool_or("transA", false)? {
        "km"
    } else {
        "mk"
    };
    let right = if node.attr_bool_or("transB", false)? {
        "nk"
    } else {
        "kn"
    };
    let mut y = cx.contract(a, b, &format!("{left},{right}->mn"))?;
    let (alpha, beta) = (node.attr_f_or("alpha", 1.0)?, node.attr_f_or("beta", 1.0)?);
    if alpha != 1.0 {
        y = cx.with_scalar("mul", y, alpha.into())?;
    }
    match c {
        Some(mut c) if beta != 0.0 => {
            if beta != 1.0 {
                c = cx.with_scalar("mul", c, beta.into())?;
            }
            let (own, of_result) = (cx.shape(c), cx.shape(y));
            if own.len() > 2 {
                return Err(cx.invalid(format!("C has {} axes, want 2 at most", own.len())));
            }
            let pairs = own.iter().rev().zip(of_result.iter().rev());
            for (own, want) in pairs.filter(|(own, _)| !own.is(1)) {
                cx.check_extent("an axis of C", own, want)?;
            }
            cx.binary("add", y, c).map(one)
        }
        _ => Ok(one(y)),
    }
}

/// A tensor and a letter for each of its axes.
type Lettered = (ValueId, Vec<u8>);

fn einsum(cx: &mut Cx<'_>, node: &NodeProto) -> Vals {
    let equation = node.require_attr("equation", node.attr_s("equation")?)?;
    let equation: String = equation.chars().filter(|c| *c != ' ').collect();
    let inputs = cx.inputs(node)?;
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != inputs.len() {
        let (found, want) = (inputs.len(), terms.len());
        return Err(cx.invalid(format!(
            "{found} operands, but {want} terms in {equation:?}"
        )));
    }
    let free: Vec<u8> = (LETTERS.iter().copied())
        .filter(|c| !equation.as_bytes().contains(c))
        .collect();
    let mut operands: Vec<Lettered> = Vec::new();
    let mut dotted = 0;
    for (x, term) in inputs.into_iter().zip(terms) {
        let rank = cx.rank(x);
        let (letters, dots) = spell(cx, term, rank, &free)?;
        dotted = dotted.max(dots);
        operands.push(diagonals(cx, x, letters)?);
    }
    let out = match right {
        Some(right) => {
            let named = right.replace("...", "").len();
            let dots = if right.contains("...") { dotted } else { 0 };
            spell(cx, right, named + dots, &free)?.0
        }
        None => implicit(left, &free[free.len() - dotted..]),
    };
    let unknown = out
        .iter()
        .find(|c| !operands.iter().any(|(_, own)| own.contains(c)));
    if unknown.is_some() || (1..out.len()).any(|k| out[..k].contains(&out[k])) {
        return Err(cx.invalid(format!("the result of {equation:?} makes no sense")));
    }
    contract_all(cx, operands, out).map(one)
}

/// The letters of a term for a tensor of some rank, and how many axes its dots stand for. These
/// take the last of the free letters.
fn spell(cx: &Cx<'_>, term: &str, rank: usize, free: &[u8]) -> Result<(Vec<u8>, usize)> {
    let (first, last) = match term.split_once("...") {
        Some((first, last)) => (first, Some(last)),
        None => (term, None),
    };
    let named = first.len() + last.map_or(0, str::len);
    let dots = rank
        .checked_sub(named)
        .filter(|n| *n == 0 || last.is_some());
    let letters = [first, last.unwrap_or("")].concat();
    match dots {
        Some(dots) if dots <= free.len() && letters.bytes().all(|c| c.is_ascii_alphabetic()) => {
            let dotted = &free[free.len() - dots..];
            let last = last.unwrap_or("").as_bytes();
            Ok(([first.as_bytes(), dotted, last].concat(), dots))
        }
        _ => Err(cx.invalid(format!("term {term:?} for a tensor of rank {rank}"))),
    }
}

/// The letters of a result that is not written: dots, then what occurs once, sorted.
fn implicit(left: &str, dotted: &[u8]) -> Vec<u8> {
    let mut counts: BTreeMap<u8, usize> = BTreeMap::new();
    let letters = left.bytes().filter(u8::is_ascii_alphabetic);
    letters.for_each(|c| *counts.entry(c).or_default() += 1);
    let once = counts.into_iter().filter(|(_, n)| *n == 1).map(|(c, _)| c);
    dotted.iter().copied().chain(once).collect()
}

/// Takes the diagonal of axes with the same letter.
fn diagonals(cx: &mut Cx<'_>, mut x: ValueId, mut letters: Vec<u8>) -> Result<Lettered> {
    while let Some(q) = (1..letters.len()).find(|q| letters[..*q].contains(&letters[*q])) {
        let p = (letters.iter().position(|c| *c == letters[q])).unwrap_or(0);
        let shape = cx.shape(x);
        let extent = shape[p].as_const().filter(|_| shape[p] == shape[q]);
        let Some(n) = extent else {
            return Err(cx.unsupported(format!("a diagonal of {} by {}", shape[p], shape[q])));
        };
        let rest: Vec<usize> = (0..shape.len()).filter(|d| *d != p && *d != q).collect();
        let perm = [rest.clone(), vec![p, q]].concat();
        let mut flat: Vec<Expr> = rest.iter().map(|d| shape[*d].clone()).collect();
        let last = flat.len();
        flat.push(Expr::from(n) * n);
        x = cx.transpose(x, &perm)?;
        x = cx.reshape(x, flat.clone())?;
        let (starts, mut steps) = (vec![Expr::from(0); last + 1], vec![1; last + 1]);
        (flat[last], steps[last]) = (n.into(), n + 1);
        x = cx.slice(x, starts, flat, steps)?;
        let mut kept: Vec<u8> = rest.iter().map(|d| letters[*d]).collect();
        kept.push(letters[p]);
        letters = kept;
    }
    Ok((x, letters))
}

/// Contracts operands one after the other. Axes of extent 1 broadcast.
fn contract_all(cx: &mut Cx<'_>, operands: Vec<Lettered>, out: Vec<u8>) -> Result<ValueId> {
    let mut operands = broadcast_letters(cx, operands)?.into_iter();
    let Some((mut total, mut letters)) = operands.next() else {
        return Err(cx.invalid("no operands"));
    };
    while let Some((x, own)) = operands.next() {
        let later: Vec<&Vec<u8>> = operands.as_slice().iter().map(|(_, l)| l).collect();
        let result = if later.is_empty() {
            out.clone()
        } else {
            let needed = |c: &u8| out.contains(c) || later.iter().any(|l| l.contains(c));
            let mut result: Vec<u8> = letters.iter().copied().filter(needed).collect();
            let more = own.iter().filter(|c| needed(c) && !letters.contains(c));
            result.extend(more);
            result
        };
        let spell = |l: &[u8]| String::from_utf8_lossy(l).into_owned();
        let spec = format!("{},{}->{}", spell(&letters), spell(&own), spell(&result));
        total = cx.contract(total, x, &spec)?;
        letters = result;
    }
    let summed: Vec<usize> = (0..letters.len())
        .filter(|d| !out.contains(&letters[*d]))
        .collect();
    if !summed.is_empty() {
        total = cx.reduce("reduce_sum", total, &summed, false)?;
        letters.retain(|c| out.contains(c));
    }
    let perm: Vec<usize> = (out.iter())
        .filter_map(|c| letters.iter().position(|l| l == c))
        .collect();
    cx.transpose(total, &perm)
}

/// Drops axes of extent 1 whose letter has another extent elsewhere.
fn broadcast_letters(cx: &mut Cx<'_>, operands: Vec<Lettered>) -> Result<Vec<Lettered>> {
    let mut extents: BTreeMap<u8, Expr> = BTreeMap::new();
    for (x, letters) in &operands {
        for (c, extent) in letters.iter().zip(cx.shape(*x)) {
            let known = extents.entry(*c).or_insert_with(|| extent.clone());
            if known.is(1) {
                *known = extent;
            } else if !extent.is(1) && *known != extent {
                let what = format!("extents {known} and {extent} of one axis");
                return Err(match (known.as_const(), extent.as_const()) {
                    (Some(_), Some(_)) => cx.invalid(what),
                    _ => cx.unsupported(what),
                });
            }
        }
    }
    let mut out = Vec::new();
    for (mut x, mut letters) in operands {
        for d in (0..letters.len()).rev() {
            if cx.shape(x)[d].is(1) && !extents[&letters[d]].is(1) {
                x = cx.drop_axis(x, d)?;
                letters.remove(d);
            }
        }
        out.push((x, letters));
    }
    Ok(out)
}
