//! Parses the text form of plans: the full form, with the bytes of all constants.
use super::{
    Call, KernelId, Place, Plan, PlanConstant, Port, SizeParam, Slot, SlotId, Source, Step,
};
use crate::define::Site;
use crate::graph::TensorType;
use crate::loops::{Kernel, Layout};
use crate::tensor::Tensor;
use crate::text::{Lexer, TextError, parse_expr};

/// Parses a plan. [`super::verify_plan`] says whether it is one that can run.
///
/// Errors: line and column, expected and found.
pub fn parse_plan(text: &str) -> Result<Plan, TextError> {
    let mut lexer = Lexer::new(text);
    let plan = plan(&mut lexer)?;
    lexer.expect_end()?;
    Ok(plan)
}

fn plan(lexer: &mut Lexer<'_>) -> Result<Plan, TextError> {
    lexer.expect_word("plan")?;
    let mut plan = Plan {
        name: lexer.string()?,
        sizes: lexer.list("(", ")", size_param)?,
        ..Plan::default()
    };
    lexer.expect_word("arena")?;
    plan.arena_bytes = parse_expr(lexer)?;
    lexer.expect("{")?;
    while !lexer.accept("}") {
        statement(lexer, &mut plan)?;
    }
    Ok(plan)
}

fn statement(lexer: &mut Lexer<'_>, plan: &mut Plan) -> Result<(), TextError> {
    if lexer.at_word("kernel") {
        plan.kernels.push(Kernel::read(lexer)?);
        return Ok(());
    }
    let place = lexer.clone();
    match lexer.word()? {
        "input" => plan.inputs.push(port(lexer)?),
        "output" => plan.outputs.push(port(lexer)?),
        "constant" => plan.constants.push(constant(lexer)?),
        "slot" => {
            let (at, number) = (lexer.clone(), index(lexer)?);
            if number != plan.slots.len() {
                return Err(at.error(format!("want slot {}", plan.slots.len())));
            }
            plan.slots.push(slot(lexer)?);
        }
        "site" => plan.sites.push(Site {
            node: lexer.string()?,
            what: lexer.string()?,
        }),
        "steps" => plan.steps = steps(lexer)?,
        "prepare" => plan.prepare = Some(Box::new(lexer.nested(self::plan)?)),
        _ => return Err(place.unexpected("a part of a plan")),
    }
    Ok(())
}

/// A number that counts something.
fn index(lexer: &mut Lexer<'_>) -> Result<usize, TextError> {
    let place = lexer.clone();
    let n = lexer.int()?;
    let fits = u32::try_from(n).ok().and_then(|n| usize::try_from(n).ok());
    fits.ok_or_else(|| place.error(format!("{n} is out of range")))
}

fn slot_id(lexer: &mut Lexer<'_>) -> Result<SlotId, TextError> {
    index(lexer).map(|n| SlotId(n as u32))
}

fn size_param(lexer: &mut Lexer<'_>) -> Result<SizeParam, TextError> {
    let symbol = lexer.size()?;
    lexer.expect_word("in")?;
    let min = lexer.int()?;
    lexer.expect("..=")?;
    let max = lexer.int()?;
    lexer.expect_word("of")?;
    lexer.expect_word("input")?;
    let input = index(lexer)?;
    lexer.expect_word("dim")?;
    Ok(SizeParam {
        symbol,
        min,
        max,
        source: (input, index(lexer)?),
    })
}

fn tensor_type(lexer: &mut Lexer<'_>) -> Result<TensorType, TextError> {
    let dtype = lexer.dtype()?;
    Ok(TensorType::new(dtype, lexer.list("[", "]", parse_expr)?))
}

fn port(lexer: &mut Lexer<'_>) -> Result<Port, TextError> {
    let name = lexer.string()?;
    lexer.expect(":")?;
    Ok(Port {
        name,
        ty: tensor_type(lexer)?,
    })
}

fn constant(lexer: &mut Lexer<'_>) -> Result<PlanConstant, TextError> {
    let name = lexer.string()?;
    let place = lexer.clone();
    let bytes = usize::try_from(lexer.int()?).map_err(|_| place.error("want a number of bytes"))?;
    lexer.expect("=")?;
    let source = if lexer.accept_word("prepared") {
        Source::Prepared(index(lexer)?)
    } else {
        lexer.expect_word("data")?;
        Source::Data(data(lexer)?)
    };
    Ok(PlanConstant {
        name,
        source,
        bytes,
    })
}

fn data(lexer: &mut Lexer<'_>) -> Result<Tensor, TextError> {
    let place = lexer.clone();
    let ty = tensor_type(lexer)?;
    let shape = ty.static_shape();
    let shape = shape.ok_or_else(|| place.error("a constant has numbers as extents"))?;
    if lexer.at("#") {
        return Err(lexer.error("a hash has no elements: print the plan in full"));
    }
    lexer.expect_word("hex")?;
    let place = lexer.clone();
    let bytes = bytes_of(&lexer.string()?);
    let bytes = bytes.ok_or_else(|| place.error("expected pairs of digits"))?;
    let tensor = Tensor::new(ty.dtype, shape, bytes.into());
    tensor.ok_or_else(|| place.error(format!("the bytes do not fill {ty}")))
}

fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [a, b] => u8::try_from(digit(*a)? * 16 + digit(*b)?).ok(),
            _ => None,
        })
        .collect()
}

fn slot(lexer: &mut Lexer<'_>) -> Result<Slot, TextError> {
    let port = port(lexer)?;
    let layout = Layout::read(lexer)?;
    let place = if lexer.accept_word("input") {
        Place::Input(index(lexer)?)
    } else if lexer.accept_word("output") {
        Place::Output(index(lexer)?)
    } else if lexer.accept_word("constant") {
        Place::Constant(index(lexer)?)
    } else {
        lexer.expect_word("arena")?;
        Place::Arena(parse_expr(lexer)?)
    };
    Ok(Slot {
        name: port.name,
        dtype: port.ty.dtype,
        shape: port.ty.shape,
        layout,
        place,
    })
}

fn steps(lexer: &mut Lexer<'_>) -> Result<Vec<Step>, TextError> {
    lexer.expect("{")?;
    let mut steps = Vec::new();
    while !lexer.accept("}") {
        steps.push(lexer.nested(step)?);
    }
    Ok(steps)
}

fn step(lexer: &mut Lexer<'_>) -> Result<Step, TextError> {
    let place = lexer.clone();
    match lexer.word()? {
        "barrier" => Ok(Step::Barrier),
        "call" => call(lexer).map(Step::Call),
        "if" => {
            let cond = slot_id(lexer)?;
            let then = steps(lexer)?;
            lexer.expect_word("else")?;
            Ok(Step::If {
                cond,
                then,
                otherwise: steps(lexer)?,
            })
        }
        "loop" => {
            let trip = slot_id(lexer)?;
            lexer.expect(",")?;
            let cond = slot_id(lexer)?;
            lexer.expect(",")?;
            let counter = slot_id(lexer)?;
            Ok(Step::Loop {
                trip,
                cond,
                counter,
                body: steps(lexer)?,
            })
        }
        _ => Err(place.unexpected("`call`, `barrier`, `if` or `loop`")),
    }
}

fn call(lexer: &mut Lexer<'_>) -> Result<Call, TextError> {
    let kernel = KernelId(index(lexer)? as u32);
    let args = lexer.list("(", ")", slot_id)?;
    lexer.expect_word("sites")?;
    let site_base = index(lexer)? as u32;
    lexer.expect_word("of")?;
    let nodes = lexer.list("[", "]", |l| l.string())?;
    let alone = match lexer.accept_word("alone") {
        true => lexer.string()?,
        false => String::new(),
    };
    Ok(Call {
        kernel,
        args,
        site_base,
        nodes,
        alone,
    })
}
