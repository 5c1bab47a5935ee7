//! Parses the text form of kernels.
mod scalar;

use super::print::{mark_word, role_word, scope_word, vars_in_use};
use super::{
    Buffer, BufferId, Cond, For, Kernel, Layout, LayoutDim, Mark, Reduction, Role, Scope, Stmt,
};
use crate::expr::Var;
use crate::text::{Lexer, TextError, Token, parse_expr, parse_var};
use std::collections::HashMap;

/// The most variables that a kernel in a text may have.
const MAX_VARS: u32 = 1 << 16;

/// Words that begin statements or scalars, which buffers cannot be called.
const RESERVED: &[&str] = &[
    "for", "if", "check", "while", "else", "true", "false", "bitcast",
];

/// Parses a kernel.
///
/// Errors: line and column, expected and found.
pub fn parse_kernel(text: &str) -> Result<Kernel, TextError> {
    let mut lexer = Lexer::new(text);
    let kernel = Kernel::read(&mut lexer)?;
    lexer.expect_end()?;
    Ok(kernel)
}

impl Layout {
    /// Takes a layout in the form that its `Display` gives.
    ///
    /// Errors: something else is ahead.
    pub fn read(lexer: &mut Lexer<'_>) -> Result<Layout, TextError> {
        lexer.expect_word("layout")?;
        lexer.list("(", ")", read_layout_dim).map(Layout)
    }
}

fn read_layout_dim(lexer: &mut Lexer<'_>) -> Result<LayoutDim, TextError> {
    let dim = match lexer.peek()? {
        Token::Word(word) => word.strip_prefix('d').and_then(|d| d.parse().ok()),
        _ => None,
    };
    let dim = dim.ok_or_else(|| lexer.unexpected("a dimension such as `d0`"))?;
    lexer.take()?;
    let step = if lexer.accept("/") { lexer.int()? } else { 1 };
    let extent = match lexer.accept_word("mod") {
        true => Some(lexer.int()?),
        false => None,
    };
    Ok(LayoutDim { dim, step, extent })
}

impl Kernel {
    /// Takes a kernel in the form that its `Display` gives.
    ///
    /// Errors: something else is ahead.
    pub fn read(lexer: &mut Lexer<'_>) -> Result<Kernel, TextError> {
        lexer.expect_word("kernel")?;
        let name = match lexer.peek()? {
            Token::Str(_) => lexer.string()?,
            _ => lexer.word()?.to_string(),
        };
        let sizes = lexer.list("(", ")", |lexer| {
            let symbol = lexer.size()?;
            lexer.expect_word("in")?;
            let lo = lexer.int()?;
            lexer.expect("..=")?;
            Ok((symbol, (lo, lexer.int()?)))
        })?;
        let vars = match lexer.accept_word("vars") {
            true => Some(lexer.int()?),
            false => None,
        };
        lexer.expect("{")?;
        let mut parser = Parser::default();
        while let Some(scope) = parser.scope_ahead(lexer) {
            lexer.take()?;
            parser.buffer(lexer, scope)?;
        }
        let body = parser.rest_of_body(lexer)?;
        let (sizes, size_bounds) = sizes.into_iter().unzip();
        let used = vars_in_use(&body);
        let vars = vars.unwrap_or(used.into());
        let vars = u32::try_from(vars)
            .ok()
            .filter(|v| *v >= used && *v <= MAX_VARS);
        let vars = vars.ok_or_else(|| {
            lexer.error(format!("want {used} to {MAX_VARS} variables in `{name}`"))
        })?;
        Ok(Kernel {
            name,
            sizes,
            size_bounds,
            buffers: parser.buffers,
            body,
            vars,
        })
    }
}

/// Takes the begin and the end of a range of indices.
fn range(lexer: &mut Lexer<'_>) -> Result<(i64, i64), TextError> {
    lexer.expect("[")?;
    let from = lexer.int()?;
    lexer.expect(",")?;
    let to = lexer.int()?;
    lexer.expect("]")?;
    Ok((from, to))
}

#[derive(Default)]
struct Parser {
    buffers: Vec<Buffer>,
    names: HashMap<String, BufferId>,
}

impl Parser {
    /// The scope of the declaration ahead, if there is one.
    fn scope_ahead(&self, lexer: &Lexer<'_>) -> Option<Scope> {
        let scopes = [Scope::Input, Scope::Output, Scope::Scratch, Scope::Register];
        let ahead = |s: &Scope| lexer.at_word(scope_word(*s));
        let found = scopes.into_iter().find(ahead)?;
        let mut after = lexer.clone();
        after.take().ok()?;
        // A buffer may be called `in`: only a declaration has a word next.
        matches!(after.peek(), Ok(Token::Word(_))).then_some(found)
    }

    fn buffer(&mut self, lexer: &mut Lexer<'_>, scope: Scope) -> Result<(), TextError> {
        let place = lexer.clone();
        let name = lexer.word()?.to_string();
        if RESERVED.contains(&&name[..]) {
            return Err(place.error(format!("`{name}` is a reserved word")));
        }
        let id = BufferId(self.buffers.len() as u32);
        if self.names.insert(name.clone(), id).is_some() {
            return Err(place.error(format!("`{name}` is declared twice")));
        }
        lexer.expect(":")?;
        let dtype = lexer.dtype()?;
        let shape = lexer.list("[", "]", parse_expr)?;
        let layout = match lexer.at_word("layout") {
            true => Layout::read(lexer)?,
            false => Layout::row_major(shape.len()),
        };
        let mut prefetch = 0;
        if lexer.accept_word("prefetch") {
            lexer.expect("(")?;
            prefetch = lexer.int()?;
            lexer.expect(")")?;
        }
        let nonzero = match lexer.accept_word("nonzero") {
            true => lexer.list("(", ")", range)?,
            false => vec![],
        };
        self.buffers.push(Buffer {
            name,
            dtype,
            shape,
            layout,
            scope,
            prefetch,
            nonzero,
        });
        Ok(())
    }

    /// Takes the name of a buffer.
    fn id(&self, lexer: &mut Lexer<'_>) -> Result<BufferId, TextError> {
        let found = match lexer.peek()? {
            Token::Word(word) => self.names.get(word).copied(),
            _ => None,
        };
        let id = found.ok_or_else(|| lexer.unexpected("the name of a buffer"))?;
        lexer.take()?;
        Ok(id)
    }

    fn body(&self, lexer: &mut Lexer<'_>) -> Result<Vec<Stmt>, TextError> {
        lexer.expect("{")?;
        self.rest_of_body(lexer)
    }

    fn rest_of_body(&self, lexer: &mut Lexer<'_>) -> Result<Vec<Stmt>, TextError> {
        let mut stmts = Vec::new();
        while !lexer.accept("}") {
            stmts.push(lexer.nested(|lexer| self.stmt(lexer))?);
        }
        Ok(stmts)
    }

    fn stmt(&self, lexer: &mut Lexer<'_>) -> Result<Stmt, TextError> {
        match lexer.peek()? {
            Token::Word("for") => self.for_loop(lexer),
            Token::Word("if") => self.branch(lexer),
            Token::Word("check") => self.check(lexer),
            Token::Word("while") => {
                lexer.take()?;
                let cond = self.scalar(lexer)?;
                let body = self.body(lexer)?;
                Ok(Stmt::While { cond, body })
            }
            _ => self.store(lexer),
        }
    }

    fn store(&self, lexer: &mut Lexer<'_>) -> Result<Stmt, TextError> {
        if !matches!(lexer.peek()?, Token::Word(w) if self.names.contains_key(w)) {
            return Err(lexer.unexpected("a statement or `}`"));
        }
        let buffer = self.id(lexer)?;
        let index = match lexer.at("[") {
            true => lexer.list("[", "]", parse_expr)?,
            false => vec![],
        };
        lexer.expect("=")?;
        let value = self.scalar(lexer)?;
        Ok(Stmt::Store {
            buffer,
            index,
            value,
        })
    }

    fn for_loop(&self, lexer: &mut Lexer<'_>) -> Result<Stmt, TextError> {
        lexer.take()?;
        let var = read_var(lexer)?;
        lexer.expect("<")?;
        let extent = parse_expr(lexer)?;
        let roles = [Role::Space, Role::Reduce, Role::Serial];
        let role = roles.into_iter().find(|r| lexer.at_word(role_word(*r)));
        let role = role.ok_or_else(|| lexer.unexpected("`space`, `reduce` or `serial`"))?;
        lexer.take()?;
        let marks = [Mark::Parallel, Mark::Vector, Mark::Jam, Mark::Unroll];
        let mark = marks.into_iter().find(|m| lexer.at_word(mark_word(*m)));
        if mark.is_some() {
            lexer.take()?;
        }
        let reduction = match lexer.at_word("state") {
            true => Some(self.reduction(lexer)?),
            false => None,
        };
        let body = self.body(lexer)?;
        Ok(Stmt::For(Box::new(For {
            var,
            extent,
            role,
            mark: mark.unwrap_or(Mark::Plain),
            reduction,
            body,
        })))
    }

    fn reduction(&self, lexer: &mut Lexer<'_>) -> Result<Reduction, TextError> {
        lexer.expect_word("state")?;
        let state = lexer.list("[", "]", |lexer| self.id(lexer))?;
        lexer.expect_word("other")?;
        let other = lexer.list("[", "]", |lexer| self.id(lexer))?;
        lexer.expect_word("identity")?;
        let identity = lexer.list("[", "]", scalar::read_const)?;
        lexer.expect_word("combine")?;
        let combine = lexer.list("[", "]", |lexer| self.scalar(lexer))?;
        Ok(Reduction {
            state,
            other,
            identity,
            combine,
        })
    }

    fn branch(&self, lexer: &mut Lexer<'_>) -> Result<Stmt, TextError> {
        lexer.take()?;
        let cond = match lexer.at("[") {
            true => Cond::Affine(lexer.list("[", "]", parse_expr)?),
            false => Cond::Scalar(self.scalar(lexer)?),
        };
        let then = self.body(lexer)?;
        let otherwise = match lexer.accept_word("else") {
            true => self.body(lexer)?,
            false => vec![],
        };
        Ok(Stmt::If {
            cond,
            then,
            otherwise,
        })
    }

    fn check(&self, lexer: &mut Lexer<'_>) -> Result<Stmt, TextError> {
        lexer.take()?;
        let var = read_var(lexer)?;
        lexer.expect("=")?;
        let value = self.scalar(lexer)?;
        lexer.expect_word("in")?;
        let extent = parse_expr(lexer)?;
        lexer.expect_word("site")?;
        let site = u32::try_from(lexer.int()?);
        let site = site.map_err(|_| lexer.error("the site is no number of 32 bits"))?;
        let body = self.body(lexer)?;
        Ok(Stmt::Check {
            var,
            value,
            extent,
            site,
            body,
        })
    }
}

fn read_var(lexer: &mut Lexer<'_>) -> Result<Var, TextError> {
    let var = match lexer.peek()? {
        Token::Word(word) => parse_var(word),
        _ => None,
    };
    let var = var.ok_or_else(|| lexer.unexpected("a variable such as `i0`"))?;
    lexer.take()?;
    Ok(var)
}
