//! The text form of trees: what is shipped can be read, compared and checked.
//!
//! ```text
//! trees 1 features 2
//! tree 3
//! 0 1.5 1 2
//! -0.25
//! 0.125
//! ```
//! A node is a line: a split (feature, threshold, the nodes below and not below it) or a leaf.
use super::{Node, Tree, Trees};
use std::fmt;
use std::str::FromStr;

/// Trees of a model, at most.
const MOST_TREES: usize = 1 << 14;
/// Nodes of a tree, at most.
const MOST_NODES: usize = 1 << 12;
/// Features of a row, at most.
const MOST_FEATURES: usize = 1 << 12;

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// The number of the line, from 1.
    pub line: usize,
    /// What is expected there.
    pub reason: &'static str,
}

impl fmt::Display for Trees {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "trees {} features {}", self.trees.len(), self.features)?;
        for tree in &self.trees {
            writeln!(f, "tree {}", tree.0.len())?;
            for node in &tree.0 {
                match node {
                    Node::Leaf(value) => writeln!(f, "{value}")?,
                    Node::Split {
                        feature,
                        threshold,
                        left,
                        right,
                    } => writeln!(f, "{feature} {threshold} {left} {right}")?,
                }
            }
        }
        Ok(())
    }
}

impl FromStr for Trees {
    type Err = ParseError;

    /// Errors: anything but what [`Trees`] prints, such as nodes that are not a tree.
    fn from_str(text: &str) -> Result<Trees, ParseError> {
        let mut lines = text.lines().enumerate().map(|(k, line)| (k + 1, line));
        let last = text.lines().count() + 1;
        let mut next = || lines.next().unwrap_or((last, ""));
        let (line, head) = next();
        let head: Vec<&str> = head.split(' ').collect();
        let ["trees", count, "features", features] = head[..] else {
            return error(line, "expected `trees N features N`");
        };
        let count = number(line, count, MOST_TREES)?;
        let features = number(line, features, MOST_FEATURES)?;
        let mut trees = Vec::new();
        for _ in 0..count {
            let (line, head) = next();
            let nodes = head.strip_prefix("tree ");
            let Some(nodes) = nodes else {
                return error(line, "expected `tree N`");
            };
            let nodes = number(line, nodes, MOST_NODES)?;
            trees.push(tree(line, nodes, features, &mut next)?);
        }
        match next() {
            (_, "") => Ok(Trees { features, trees }),
            (line, _) => error(line, "expected the end"),
        }
    }
}

fn error<T>(line: usize, reason: &'static str) -> Result<T, ParseError> {
    Err(ParseError { line, reason })
}

fn number(line: usize, word: &str, most: usize) -> Result<usize, ParseError> {
    match word.parse() {
        Ok(n) if n <= most => Ok(n),
        _ => error(line, "expected a number that is not too large"),
    }
}

fn finite(line: usize, word: &str) -> Result<f32, ParseError> {
    match word.parse::<f32>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => error(line, "expected a finite number"),
    }
}

/// So many nodes, each of which but the first is the child of one before it.
fn tree<'t>(
    head: usize,
    count: usize,
    features: usize,
    next: &mut dyn FnMut() -> (usize, &'t str),
) -> Result<Tree, ParseError> {
    let mut nodes = Vec::new();
    let mut has_parent = vec![false; count];
    for at in 0..count {
        let (line, text) = next();
        let words: Vec<&str> = text.split(' ').collect();
        let node = match words[..] {
            [value] => Node::Leaf(finite(line, value)?),
            [feature, threshold, left, right] => {
                let feature = number(line, feature, features.saturating_sub(1))?;
                let mut child = |word| {
                    let child = number(line, word, count.saturating_sub(1))?;
                    if child <= at || std::mem::replace(&mut has_parent[child], true) {
                        return error(line, "expected children that have no other parent");
                    }
                    Ok(child as u16)
                };
                Node::Split {
                    feature: feature as u16,
                    threshold: finite(line, threshold)?,
                    left: child(left)?,
                    right: child(right)?,
                }
            }
            _ => return error(line, "expected a leaf or a split"),
        };
        if matches!(node, Node::Split { .. }) && features == 0 {
            return error(line, "expected a leaf, as rows have no features");
        }
        nodes.push(node);
    }
    match has_parent.iter().skip(1).all(|p| *p) && count > 0 {
        true => Ok(Tree(nodes)),
        false => error(head, "expected nodes that are one tree"),
    }
}
