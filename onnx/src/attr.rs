//! Typed access to the attributes of a node.

use bytes::Bytes;

use crate::error::{OnnxError, Result, quoted};
use crate::proto::{
    AttrKind, AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, TypeProto,
};

impl AttributeProto {
    /// Which field holds the value: the stated type, or, in files older than IR version 2 that
    /// state none, the one field that is set.
    ///
    /// Errors: `Invalid` for a type number unknown to the schema or a missing value.
    pub fn kind(&self, place: &str) -> Result<AttrKind> {
        let stated = AttrKind::try_from(self.r#type).map_err(|_| {
            let problem = format!(
                "attribute {} has unknown type {}",
                quoted(&self.name),
                self.r#type
            );
            OnnxError::invalid(place, problem)
        })?;
        if stated != AttrKind::Undefined {
            return Ok(stated);
        }
        let set = [
            (AttrKind::Float, self.f.is_some()),
            (AttrKind::Int, self.i.is_some()),
            (AttrKind::String, self.s.is_some()),
            (AttrKind::Tensor, self.t.is_some()),
            (AttrKind::Graph, self.g.is_some()),
            (AttrKind::SparseTensor, self.sparse_tensor.is_some()),
            (AttrKind::TypeProto, self.tp.is_some()),
            (AttrKind::Floats, !self.floats.is_empty()),
            (AttrKind::Ints, !self.ints.is_empty()),
            (AttrKind::Strings, !self.strings.is_empty()),
            (AttrKind::Tensors, !self.tensors.is_empty()),
            (AttrKind::Graphs, !self.graphs.is_empty()),
            (AttrKind::SparseTensors, !self.sparse_tensors.is_empty()),
            (AttrKind::TypeProtos, !self.type_protos.is_empty()),
        ];
        let found = set.iter().find(|(_, set)| *set).map(|(kind, _)| *kind);
        found.ok_or_else(|| {
            let problem = format!("attribute {} has no type and no value", quoted(&self.name));
            OnnxError::invalid(place, problem)
        })
    }

    /// The graphs this attribute holds.
    pub fn subgraphs(&self) -> impl Iterator<Item = &GraphProto> {
        self.g.as_deref().into_iter().chain(&self.graphs)
    }

    /// The graphs this attribute holds.
    pub(crate) fn subgraphs_mut(&mut self) -> impl Iterator<Item = &mut GraphProto> {
        self.g.as_deref_mut().into_iter().chain(&mut self.graphs)
    }
}

/// Attribute access. Every getter returns `None` for an absent attribute, and `Invalid`, naming
/// node and attribute, for one of another type.
impl NodeProto {
    /// The node as messages name it: its name or, without one, its first output, and its operator.
    pub fn label(&self) -> String {
        let op = quoted(&self.op_type);
        let op = op.trim_matches('"');
        if !self.name.is_empty() {
            return format!("node {} ({op})", quoted(&self.name));
        }
        match self.output.iter().find(|name| !name.is_empty()) {
            Some(output) => format!("node of output {} ({op})", quoted(output)),
            None => format!("unnamed node ({op})"),
        }
    }

    /// Operand `index`; `None` when it is absent or left out by an empty name.
    pub fn operand(&self, index: usize) -> Option<&str> {
        let name = self.input.get(index)?;
        (!name.is_empty()).then_some(name.as_str())
    }

    /// Result `index`; `None` when it is absent or left out by an empty name.
    pub fn result(&self, index: usize) -> Option<&str> {
        let name = self.output.get(index)?;
        (!name.is_empty()).then_some(name.as_str())
    }

    /// Operand `index`, which the operator requires.
    ///
    /// Errors: `Invalid` when it is absent.
    pub fn required_operand(&self, index: usize) -> Result<&str> {
        self.operand(index).ok_or_else(|| {
            OnnxError::invalid(self.label(), format!("required operand {index} is missing"))
        })
    }

    /// The attribute of this name.
    pub fn attr(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attr| attr.name == name)
    }

    /// An integer.
    pub fn attr_i(&self, name: &str) -> Result<Option<i64>> {
        let attr = self.typed_attr(name, AttrKind::Int)?;
        Ok(attr.map(|attr| attr.i.unwrap_or(0)))
    }

    /// An integer, `default` when absent.
    pub fn attr_i_or(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.attr_i(name)?.unwrap_or(default))
    }

    /// A truth value, stored as an integer; `default` when absent.
    pub fn attr_bool_or(&self, name: &str, default: bool) -> Result<bool> {
        Ok(self.attr_i(name)?.map_or(default, |value| value != 0))
    }

    /// A float.
    pub fn attr_f(&self, name: &str) -> Result<Option<f32>> {
        let attr = self.typed_attr(name, AttrKind::Float)?;
        Ok(attr.map(|attr| attr.f.unwrap_or(0.0)))
    }

    /// A float, `default` when absent.
    pub fn attr_f_or(&self, name: &str, default: f32) -> Result<f32> {
        Ok(self.attr_f(name)?.unwrap_or(default))
    }

    /// A string.
    ///
    /// Errors: also `Invalid` when it is not UTF-8.
    pub fn attr_s(&self, name: &str) -> Result<Option<&str>> {
        let attr = self.typed_attr(name, AttrKind::String)?;
        attr.map(|attr| self.text(name, attr.s.as_ref().map_or(&[], |s| &s[..])))
            .transpose()
    }

    /// A string, `default` when absent.
    pub fn attr_s_or<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str> {
        Ok(self.attr_s(name)?.unwrap_or(default))
    }

    /// Integers.
    pub fn attr_ints(&self, name: &str) -> Result<Option<&[i64]>> {
        let attr = self.typed_attr(name, AttrKind::Ints)?;
        Ok(attr.map(|attr| &attr.ints[..]))
    }

    /// Floats.
    pub fn attr_floats(&self, name: &str) -> Result<Option<&[f32]>> {
        let attr = self.typed_attr(name, AttrKind::Floats)?;
        Ok(attr.map(|attr| &attr.floats[..]))
    }

    /// Strings, as stored; ONNX means UTF-8.
    pub fn attr_strings(&self, name: &str) -> Result<Option<&[Bytes]>> {
        let attr = self.typed_attr(name, AttrKind::Strings)?;
        Ok(attr.map(|attr| &attr.strings[..]))
    }

    /// A tensor, to be decoded by [`LoadedModel::tensor`](crate::LoadedModel::tensor).
    pub fn attr_t(&self, name: &str) -> Result<Option<&TensorProto>> {
        self.value_of(name, AttrKind::Tensor, |attr| attr.t.as_deref())
    }

    /// A subgraph.
    pub fn attr_g(&self, name: &str) -> Result<Option<&GraphProto>> {
        self.value_of(name, AttrKind::Graph, |attr| attr.g.as_deref())
    }

    /// A sparse tensor.
    pub fn attr_sparse(&self, name: &str) -> Result<Option<&SparseTensorProto>> {
        self.value_of(name, AttrKind::SparseTensor, |attr| {
            attr.sparse_tensor.as_deref()
        })
    }

    /// A type.
    pub fn attr_type(&self, name: &str) -> Result<Option<&TypeProto>> {
        self.value_of(name, AttrKind::TypeProto, |attr| attr.tp.as_deref())
    }

    /// `value` of attribute `name`, for the caller's error when the operator requires it.
    ///
    /// Errors: `Invalid` when `value` is `None`.
    pub fn require_attr<T>(&self, name: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| {
            let problem = format!("required attribute {} is missing", quoted(name));
            OnnxError::invalid(self.label(), problem)
        })
    }

    fn typed_attr(&self, name: &str, kind: AttrKind) -> Result<Option<&AttributeProto>> {
        let Some(attr) = self.attr(name) else {
            return Ok(None);
        };
        let found = attr.kind(&self.label())?;
        if found == kind {
            return Ok(Some(attr));
        }
        let problem = format!("attribute {} is {found:?}, expected {kind:?}", quoted(name));
        Err(OnnxError::invalid(self.label(), problem))
    }

    fn value_of<'a, T>(
        &'a self,
        name: &str,
        kind: AttrKind,
        value: impl FnOnce(&'a AttributeProto) -> Option<&'a T>,
    ) -> Result<Option<&'a T>> {
        match self.typed_attr(name, kind)? {
            None => Ok(None),
            Some(attr) => value(attr).map(Some).ok_or_else(|| {
                let problem = format!("attribute {} has no value", quoted(name));
                OnnxError::invalid(self.label(), problem)
            }),
        }
    }

    fn text<'a>(&self, name: &str, bytes: &'a [u8]) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| {
            let problem = format!("attribute {} is not UTF-8", quoted(name));
            OnnxError::invalid(self.label(), problem)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(attribute: Vec<AttributeProto>) -> NodeProto {
        NodeProto {
            name: "n".into(),
            op_type: "Op".into(),
            attribute,
            ..Default::default()
        }
    }

    fn attr(name: &str, kind: AttrKind) -> AttributeProto {
        AttributeProto {
            name: name.into(),
            r#type: kind as i32,
            ..Default::default()
        }
    }

    #[test]
    fn values_defaults_and_absence() {
        let axis = AttributeProto {
            i: Some(-1),
            ..attr("axis", AttrKind::Int)
        };
        let n = node(vec![axis, attr("zero", AttrKind::Int)]);
        assert_eq!(n.attr_i("axis").unwrap(), Some(-1));
        assert_eq!(n.attr_i("zero").unwrap(), Some(0));
        assert_eq!(n.attr_i_or("none", 7).unwrap(), 7);
        assert_eq!(n.attr_ints("none").unwrap(), None);
        let missing = n.require_attr("none", n.attr_f("none").unwrap());
        assert!(missing.unwrap_err().to_string().contains("\"none\""));
    }

    #[test]
    fn another_type_names_node_and_attribute() {
        let n = node(vec![attr("axis", AttrKind::Float)]);
        let error = n.attr_i("axis").unwrap_err().to_string();
        assert!(error.contains("node \"n\" (Op)"), "{error}");
        assert!(error.contains("\"axis\" is Float, expected Int"), "{error}");
        let n = node(vec![attr("axis", AttrKind::Tensor)]);
        assert_eq!(n.attr_t("axis").unwrap_err().exit_code(), 3);
    }

    #[test]
    fn untyped_attributes_of_old_files_are_recognised() {
        let mut old = attr("k", AttrKind::Undefined);
        assert_eq!(old.kind("x").unwrap_err().exit_code(), 3);
        old.ints = vec![1];
        assert_eq!(node(vec![old]).attr_ints("k").unwrap(), Some(&[1i64][..]));
    }
}
