//! What rows of reports call a node.
use crate::proto::NodeProto;
use std::iter;

/// How the rows of a node are named: by the node, or else by its first result, in one line.
pub(super) fn row_name(node: &NodeProto) -> String {
    let outputs = node.output.iter();
    let mut names = iter::once(&node.name).chain(outputs);
    let name = names.find(|n| !n.is_empty()).unwrap_or(&node.op_type);
    let one = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.into(),
    };
    name.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_in_one_line() {
        let name = |name: &str, output: &str| {
            row_name(&NodeProto {
                name: name.into(),
                output: vec![String::new(), output.into()],
                op_type: "Relu".into(),
                ..NodeProto::default()
            })
        };
        assert_eq!(name("a\nb\u{1b}é", "y"), "a\\nb\\u{1b}é");
        assert_eq!(name("", "y\t"), "y\\t");
        assert_eq!(name("", ""), "Relu");
    }
}
