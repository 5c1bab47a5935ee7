//! A dry run over the wire format, before anything is decoded.
//!
//! Two bytes of a file can stand for a message of hundreds of bytes, and an attribute can nest
//! graphs without end. This walk counts what decoding would allocate and how deep it would go,
//! in time linear in the file and without allocating, so that a hostile file is refused first.

use std::mem::size_of;

use crate::budget::{Budget, within};
use crate::error::{OnnxError, Result};
use crate::proto::{self, type_proto};

/// The message types that hold others or repeat.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    ValueInfo,
    Type,
    TypeTensor,
    TypeElement,
    TypeMap,
    TypeOpaque,
    Shape,
    Dimension,
    Function,
    Opset,
    Entry,
}

/// What a field holds, as far as its heap use goes.
#[derive(Clone, Copy)]
enum Field {
    /// A message.
    Message(Kind, &'static str),
    /// Text, copied.
    Text,
    /// Texts, each copied into a string of its own.
    Texts,
    /// Byte strings, shared with the file.
    Slices,
    /// Varints, each decoded to this many bytes.
    Varints(u64),
    /// Fixed-width numbers, or a field whose use is constant.
    Plain,
}

/// Deepest nesting of messages; the decoder refuses 100.
const MAX_MESSAGES: u32 = 96;

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Graph => "graph",
            Self::Node => "node",
            Self::Attribute => "attribute",
            Self::Tensor => "tensor",
            Self::Sparse => "sparse tensor",
            Self::ValueInfo => "value info",
            Self::Type | Self::TypeTensor | Self::TypeElement | Self::TypeMap => "type",
            Self::TypeOpaque => "opaque type",
            Self::Shape => "shape",
            Self::Dimension => "dimension",
            Self::Function => "function",
            Self::Opset => "operator set",
            Self::Entry => "key and value",
        }
    }

    /// Bytes of the decoded message itself.
    fn size(self) -> u64 {
        let size = match self {
            Self::Model => size_of::<proto::ModelProto>(),
            Self::Graph => size_of::<proto::GraphProto>(),
            Self::Node => size_of::<proto::NodeProto>(),
            Self::Attribute => size_of::<proto::AttributeProto>(),
            Self::Tensor => size_of::<proto::TensorProto>(),
            Self::Sparse => size_of::<proto::SparseTensorProto>(),
            Self::ValueInfo => size_of::<proto::ValueInfoProto>(),
            Self::Type => size_of::<proto::TypeProto>(),
            Self::TypeTensor => size_of::<type_proto::Tensor>(),
            Self::TypeElement => size_of::<type_proto::Element>(),
            Self::TypeMap => size_of::<type_proto::Map>(),
            Self::TypeOpaque => size_of::<type_proto::Opaque>(),
            Self::Shape => size_of::<proto::TensorShapeProto>(),
            Self::Dimension => size_of::<proto::Dimension>(),
            Self::Function => size_of::<proto::FunctionProto>(),
            Self::Opset => size_of::<proto::OperatorSetIdProto>(),
            Self::Entry => size_of::<proto::StringStringEntryProto>(),
        };
        size as u64
    }

    /// The field with this number; `None` for fields the decoder skips.
    fn field(self, number: u64) -> Option<Field> {
        use Field::{Message, Plain, Slices, Text, Texts, Varints};
        use Kind as K;
        let field = match (self, number) {
            (K::Model, 2..=4) => Text,
            (K::Model, 7) => Message(K::Graph, "graph"),
            (K::Model, 8) | (K::Function, 9) => Message(K::Opset, "opset_import"),
            (K::Model, 14) => Message(K::Entry, "metadata_props"),
            (K::Model, 25) => Message(K::Function, "functions"),
            (K::Graph, 1) | (K::Function, 7) => Message(K::Node, "node"),
            (K::Graph, 2) => Text,
            (K::Graph, 5) => Message(K::Tensor, "initializer"),
            (K::Graph, 11) => Message(K::ValueInfo, "input"),
            (K::Graph, 12) => Message(K::ValueInfo, "output"),
            (K::Graph, 13) | (K::Function, 12) => Message(K::ValueInfo, "value_info"),
            (K::Graph, 15) => Message(K::Sparse, "sparse_initializer"),
            (K::Node, 1 | 2) => Texts,
            (K::Node, 3 | 4 | 7 | 8) => Text,
            (K::Node, 5) => Message(K::Attribute, "attribute"),
            (K::Attribute, 1 | 21) => Text,
            (K::Attribute, 5) => Message(K::Tensor, "t"),
            (K::Attribute, 6) => Message(K::Graph, "g"),
            (K::Attribute, 8) => Varints(8),
            (K::Attribute, 9) | (K::Tensor, 6) => Slices,
            (K::Attribute, 10) => Message(K::Tensor, "tensors"),
            (K::Attribute, 11) => Message(K::Graph, "graphs"),
            (K::Attribute, 14) => Message(K::Type, "tp"),
            (K::Attribute, 15) => Message(K::Type, "type_protos"),
            (K::Attribute, 22) => Message(K::Sparse, "sparse_tensor"),
            (K::Attribute, 23) => Message(K::Sparse, "sparse_tensors"),
            (K::Attribute, 7) | (K::Tensor, 4 | 10) => Plain,
            (K::Tensor, 1 | 7 | 11) | (K::Sparse, 3) => Varints(8),
            (K::Tensor, 5) => Varints(4),
            (K::Tensor, 8) => Text,
            (K::Tensor, 13) => Message(K::Entry, "external_data"),
            (K::Sparse, 1) => Message(K::Tensor, "values"),
            (K::Sparse, 2) => Message(K::Tensor, "indices"),
            (K::ValueInfo, 1) => Text,
            (K::ValueInfo, 2) => Message(K::Type, "type"),
            (K::Type, 1) => Message(K::TypeTensor, "tensor_type"),
            (K::Type, 4) => Message(K::TypeElement, "sequence_type"),
            (K::Type, 5) => Message(K::TypeMap, "map_type"),
            (K::Type, 6) => Text,
            (K::Type, 7) => Message(K::TypeOpaque, "opaque_type"),
            (K::Type, 8) => Message(K::TypeTensor, "sparse_tensor_type"),
            (K::Type, 9) => Message(K::TypeElement, "optional_type"),
            (K::TypeElement, 1) => Message(K::Type, "elem_type"),
            (K::TypeMap, 2) => Message(K::Type, "value_type"),
            (K::TypeTensor, 2) => Message(K::Shape, "shape"),
            (K::Shape, 1) => Message(K::Dimension, "dim"),
            (K::Dimension, 2) => Text,
            (K::TypeOpaque | K::Opset | K::Entry | K::Function, 1) => Text,
            (K::TypeOpaque | K::Entry, 2) => Text,
            (K::Function, 4..=6) => Texts,
            (K::Function, 10 | 13) => Text,
            (K::Function, 11) => Message(K::Attribute, "attribute_proto"),
            _ => return None,
        };
        Some(field)
    }
}

/// The walk's state: the file, what it has counted, and where it is.
struct Scan<'a> {
    file: &'a [u8],
    budget: &'a Budget,
    granted: u64,
    used: u64,
    nodes: u64,
    path: Vec<&'static str>,
}

/// Checks that decoding `file` stays within `budget`.
///
/// Errors: `Invalid` for bytes that are not the wire format of a model, `Limit`.
pub(crate) fn scan(file: &[u8], budget: &Budget) -> Result<()> {
    let len = file.len() as u64;
    let mut scan = Scan {
        file,
        budget,
        granted: budget.message_bytes.saturating_add(len.saturating_mul(4)),
        used: 0,
        nodes: 0,
        path: Vec::new(),
    };
    scan.message(Kind::Model, 0, file.len(), 0, 0)
}

impl Scan<'_> {
    /// Walks the message of `kind` at `at..end`, `messages` and `graphs` levels deep.
    fn message(
        &mut self,
        kind: Kind,
        mut at: usize,
        end: usize,
        messages: u32,
        graphs: u64,
    ) -> Result<()> {
        self.charge(kind.size())?;
        if messages > MAX_MESSAGES {
            let place = self.place(kind, at);
            let limit = u64::from(MAX_MESSAGES);
            let found = u64::from(messages);
            return within(found, limit, "levels of nested messages", "depth", || place);
        }
        if kind == Kind::Graph {
            let limit = self.budget.depth;
            within(graphs, limit, "levels of nested subgraphs", "depth", || {
                self.place(kind, at)
            })?;
        }
        if kind == Kind::Node {
            self.nodes += 1;
            within(self.nodes, self.budget.nodes, "nodes", "nodes", || {
                "model file".into()
            })?;
        }
        while at < end {
            let key = self.varint(kind, &mut at, end)?;
            let field = kind.field(key >> 3);
            match key & 7 {
                0 => {
                    self.varint(kind, &mut at, end)?;
                    if let Some(Field::Varints(width)) = field {
                        self.charge(width)?;
                    }
                }
                width @ (1 | 5) => {
                    let bytes = if width == 1 { 8 } else { 4 };
                    self.skip(kind, &mut at, end, bytes)?;
                    self.charge(if field.is_some() { bytes } else { 0 })?;
                }
                2 => {
                    let len = self.varint(kind, &mut at, end)?;
                    let start = at;
                    self.skip(kind, &mut at, end, len)?;
                    if let Some(field) = field {
                        self.delimited(field, start, at, messages, graphs)?;
                    }
                }
                wire => {
                    let problem = format!("wire type {wire} is not used by ONNX");
                    return Err(self.broken(kind, at, problem));
                }
            }
        }
        Ok(())
    }

    /// Accounts for a known length-delimited field at `start..end`.
    fn delimited(
        &mut self,
        field: Field,
        start: usize,
        end: usize,
        messages: u32,
        graphs: u64,
    ) -> Result<()> {
        let len = (end - start) as u64;
        match field {
            Field::Message(kind, name) => {
                self.path.push(name);
                let graphs = graphs + u64::from(messages > 0 && kind == Kind::Graph);
                self.message(kind, start, end, messages + 1, graphs)?;
                self.path.pop();
                Ok(())
            }
            Field::Text | Field::Plain => self.charge(len),
            Field::Texts => self.charge(len + size_of::<String>() as u64),
            Field::Slices => self.charge(size_of::<bytes::Bytes>() as u64),
            Field::Varints(width) => {
                let count = self.file[start..end].iter().filter(|&&b| b < 0x80).count();
                self.charge(count as u64 * width)
            }
        }
    }

    fn charge(&mut self, bytes: u64) -> Result<()> {
        self.used = self.used.saturating_add(bytes);
        let what = "bytes of decoded messages";
        within(self.used, self.granted, what, "message_bytes", || {
            "model file".into()
        })
    }

    fn skip(&self, kind: Kind, at: &mut usize, end: usize, len: u64) -> Result<()> {
        let left = (end - *at) as u64;
        if len > left {
            let problem =
                format!("a field of {len} bytes does not fit in the {left} that are left");
            return Err(self.broken(kind, *at, problem));
        }
        *at += len as usize;
        Ok(())
    }

    fn varint(&self, kind: Kind, at: &mut usize, end: usize) -> Result<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let Some(&byte) = self.file[..end].get(*at) else {
                return Err(self.broken(kind, *at, "the bytes end within a number".into()));
            };
            *at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.broken(kind, *at, "a number is longer than ten bytes".into()))
    }

    fn place(&self, kind: Kind, at: usize) -> String {
        let path: Vec<&str> = self.path.iter().copied().take(12).collect();
        let more = if self.path.len() > 12 { "..." } else { "" };
        let path = path.join(".");
        let space = if path.is_empty() { "" } else { " " };
        format!(
            "{}{space}{path}{more}, byte {at} of {}",
            kind.name(),
            self.file.len()
        )
    }

    fn broken(&self, kind: Kind, at: usize, problem: String) -> OnnxError {
        OnnxError::invalid_help(self.place(kind, at), problem, self.guess())
    }

    /// What the file may be instead.
    fn guess(&self) -> &'static str {
        let head = &self.file[..self.file.len().min(256)];
        if head.windows(7).any(|w| w == b"git-lfs") {
            return "this is a pointer to a file in large-file storage: fetch the file itself";
        }
        let text = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
        if !head.is_empty() && head.iter().all(text) {
            return "this is a text file: pass the .onnx file itself";
        }
        "the file is truncated or is not an ONNX model: download or export it again"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn two_byte_messages_are_charged_at_their_decoded_size() {
        let mut graph = Vec::new();
        for _ in 0..400_000 {
            graph.extend([0x2a, 0x00]); // an empty initializer
        }
        let mut file = vec![0x3a];
        prost::encode_length_delimiter(graph.len(), &mut file).unwrap();
        file.extend(graph);
        let error = scan(&file, &Budget::default()).unwrap_err();
        assert_eq!(error.exit_code(), 5, "{error}");
    }

    #[test]
    fn a_plain_model_passes() {
        let model = proto::ModelProto {
            ir_version: 8,
            graph: Some(proto::GraphProto::default()),
            ..Default::default()
        };
        scan(&model.encode_to_vec(), &Budget::default()).unwrap();
    }
}
