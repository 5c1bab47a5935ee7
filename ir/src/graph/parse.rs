//! Parses the text form of graphs: the full form, with the elements of all constants.
use super::print::result_name;
use super::{AttrKind, AttrValue, Attrs, Graph, SymbolInfo, TensorType, ValueId};
use crate::expr::Symbol;
use crate::ops::{self, Op};
use crate::tensor::{Tensor, Wide};
use crate::text::{Lexer, TextError, Token, parse_expr};
use std::collections::HashMap;

/// Parses a graph. Nodes pass the checks and inference of their ops.
///
/// Errors: line and column, expected and found.
pub fn parse_graph(text: &str) -> Result<Graph, TextError> {
    let mut lexer = Lexer::new(text);
    let graph = graph(&mut lexer)?;
    lexer.expect_end()?;
    Ok(graph)
}

/// A graph in the making, with the names of its values.
#[derive(Default)]
struct Builder<'t> {
    graph: Graph,
    names: HashMap<&'t str, ValueId>,
}

fn graph(lexer: &mut Lexer<'_>) -> Result<Graph, TextError> {
    lexer.expect_word("graph")?;
    let mut builder = Builder::default();
    builder.graph.name = lexer.string()?;
    for (symbol, info) in lexer.list("(", ")", symbol)? {
        builder.graph.symbols.insert(symbol, info);
    }
    lexer.expect("{")?;
    while !lexer.accept("}") {
        builder.statement(lexer)?;
    }
    Ok(builder.graph)
}

fn symbol(lexer: &mut Lexer<'_>) -> Result<(Symbol, SymbolInfo), TextError> {
    let symbol = lexer.size()?;
    lexer.expect_word("in")?;
    let min = lexer.int()?;
    lexer.expect("..=")?;
    let info = SymbolInfo {
        min,
        max: lexer.int()?,
    };
    if min < 0 || info.max < min {
        return Err(lexer.error("the bounds of a size must be 0 or more, in order"));
    }
    Ok((symbol, info))
}

impl<'t> Builder<'t> {
    fn statement(&mut self, lexer: &mut Lexer<'t>) -> Result<(), TextError> {
        if lexer.accept_word("output") {
            let name = lexer.string()?;
            lexer.expect("=")?;
            let value = self.operand(lexer)?;
            self.graph.add_output(&name, value);
            return Ok(());
        }
        let results = self.results(lexer)?;
        let added = if lexer.accept_word("input") {
            let name = lexer.string()?;
            lexer.expect(":")?;
            vec![self.graph.add_input(&name, tensor_type(lexer)?)]
        } else if lexer.accept_word("const") {
            let name = lexer.string()?;
            lexer.expect(":")?;
            vec![self.graph.add_constant(&name, constant(lexer)?)]
        } else {
            self.node(lexer, &results)?
        };
        if added.len() != results.len() {
            let (found, want) = (results.len(), added.len());
            return Err(lexer.error(format!("{found} results before this, want {want}")));
        }
        for ((name, _), id) in results.into_iter().zip(added) {
            if self.names.insert(name, id).is_some() {
                return Err(lexer.error(format!("`%{name}` is defined twice")));
            }
        }
        Ok(())
    }

    /// The names before a `=`, each with the name in the model, if it has one of its own.
    fn results(&self, lexer: &mut Lexer<'t>) -> Result<Vec<(&'t str, Option<String>)>, TextError> {
        let mut results = Vec::new();
        if !matches!(lexer.peek()?, Token::Name(_)) {
            return Ok(results);
        }
        loop {
            let name = lexer.name()?;
            let own = match lexer.peek()? {
                Token::Str(_) => Some(lexer.string()?),
                _ => None,
            };
            results.push((name, own));
            if !lexer.accept(",") {
                lexer.expect("=")?;
                return Ok(results);
            }
        }
    }

    fn operand(&self, lexer: &mut Lexer<'t>) -> Result<ValueId, TextError> {
        let place = lexer.clone();
        let name = lexer.name()?;
        let found = self.names.get(name).copied();
        found.ok_or_else(|| place.error(format!("`%{name}` is not defined above")))
    }

    fn node(
        &mut self,
        lexer: &mut Lexer<'t>,
        results: &[(&'t str, Option<String>)],
    ) -> Result<Vec<ValueId>, TextError> {
        let place = lexer.clone();
        let word = lexer.word()?;
        let op = ops::find(word).ok_or_else(|| place.error(format!("`{word}` is not an op")))?;
        let inputs = lexer.list("(", ")", |l| self.operand(l))?;
        let attrs = attributes(lexer, op)?;
        let name = lexer.string()?;
        let mut types = Vec::new();
        if lexer.accept(":") {
            types.push(tensor_type(lexer)?);
            while lexer.accept(",") {
                types.push(tensor_type(lexer)?);
            }
        }
        let mut regions = Vec::new();
        while lexer.accept_word("with") {
            regions.push(lexer.nested(graph)?);
        }
        let added = self
            .graph
            .add_with_regions(op, &name, &inputs, attrs, regions)
            .map_err(|e| place.error(e.to_string()))?;
        let inferred: Vec<&TensorType> = added.iter().map(|v| self.graph.ty(*v)).collect();
        if !inferred.iter().copied().eq(&types) {
            let all: Vec<String> = inferred.iter().map(|t| t.to_string()).collect();
            let reason = format!("the types of the results are {}", all.join(", "));
            return Err(place.error(reason));
        }
        for (k, (id, (_, own))) in added.iter().zip(results).enumerate() {
            let label = own.clone().unwrap_or_else(|| result_name(&name, k));
            self.graph.values[id.0 as usize].name = label;
        }
        Ok(added)
    }
}

fn tensor_type(lexer: &mut Lexer<'_>) -> Result<TensorType, TextError> {
    let dtype = lexer.dtype()?;
    Ok(TensorType::new(dtype, lexer.list("[", "]", parse_expr)?))
}

fn constant(lexer: &mut Lexer<'_>) -> Result<Tensor, TextError> {
    let ty = tensor_type(lexer)?;
    lexer.expect("=")?;
    let place = lexer.clone();
    let shape = ty
        .static_shape()
        .ok_or_else(|| place.error("a constant has numbers as extents"))?;
    if lexer.at("#") {
        return Err(place.error("a hash has no elements: print the graph in full"));
    }
    let tensor = if lexer.accept_word("hex") {
        let digits = lexer.string()?;
        let bytes = bytes_of(&digits).ok_or_else(|| place.error("expected pairs of digits"))?;
        Tensor::new(ty.dtype, shape, bytes.into())
    } else {
        elements(lexer, &ty, shape)?
    };
    tensor.ok_or_else(|| place.error(format!("the elements do not fill {ty}")))
}

fn elements(
    lexer: &mut Lexer<'_>,
    ty: &TensorType,
    shape: Vec<usize>,
) -> Result<Option<Tensor>, TextError> {
    let wide = match ty.dtype.int_range() {
        None => Wide::Float(lexer.list("[", "]", |l| l.float())?),
        Some((least, most)) => Wide::Int(lexer.list("[", "]", |l| {
            let place = l.clone();
            let n = i128::from(l.int()?);
            let fits = (least..=most).contains(&n);
            fits.then_some(n)
                .ok_or_else(|| place.error(format!("{n} is not a number of {}", ty.dtype)))
        })?),
    };
    let found = match &wide {
        Wide::Float(v) => v.len(),
        Wide::Int(v) => v.len(),
    };
    let want = shape.iter().try_fold(1usize, |a, b| a.checked_mul(*b));
    Ok((want == Some(found)).then(|| Tensor::from_wide(ty.dtype, shape, &wide)))
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|p| match p {
            [a, b] => Some(digit(*a)? * 16 + digit(*b)?),
            _ => None,
        })
        .collect()
}

fn attributes(lexer: &mut Lexer<'_>, op: Op) -> Result<Attrs, TextError> {
    let mut attrs = Attrs::new();
    let all = lexer.list("{", "}", |lexer| {
        let place = lexer.clone();
        let name = lexer.word()?;
        let def = op
            .attr_def(name)
            .ok_or_else(|| place.error(format!("`{}` has no attribute `{name}`", op.name)))?;
        lexer.expect("=")?;
        Ok((def.name, attribute(lexer, def.kind)?))
    })?;
    for (name, value) in all {
        attrs.set(name, value);
    }
    Ok(attrs)
}

fn attribute(lexer: &mut Lexer<'_>, kind: AttrKind) -> Result<AttrValue, TextError> {
    Ok(match kind {
        AttrKind::Int => AttrValue::Int(lexer.int()?),
        AttrKind::Ints => AttrValue::Ints(lexer.list("[", "]", |l| l.int())?),
        AttrKind::Float => AttrValue::Float(lexer.float()?),
        AttrKind::Floats => AttrValue::Floats(lexer.list("[", "]", |l| l.float())?),
        AttrKind::Bool if lexer.accept_word("true") => AttrValue::Bool(true),
        AttrKind::Bool => {
            lexer.expect_word("false")?;
            AttrValue::Bool(false)
        }
        AttrKind::Str => AttrValue::Str(lexer.string()?),
        AttrKind::DType => AttrValue::DType(lexer.dtype()?),
        AttrKind::Dims => AttrValue::Dims(lexer.list("[", "]", parse_expr)?),
    })
}
