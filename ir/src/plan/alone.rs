//! The plan of a kernel alone.
use super::{
    Call, KernelId, Place, Plan, PlanConstant, Port, SizeParam, Slot, SlotId, Source, Step,
};
use crate::graph::TensorType;
use crate::loops::{BufferId, Kernel, Scope};

impl Plan {
    /// The plan that calls a kernel once, each parameter in a port of its own and in the layout
    /// that the kernel asks for; the inputs `constants` are constants instead, whose bytes the
    /// caller provides. Sizes are those of the kernel, whatever shape the first input has.
    pub fn of_kernel(kernel: Kernel, constants: &[BufferId]) -> Plan {
        let mut plan = Plan {
            name: kernel.name.clone(),
            ..Plan::default()
        };
        let bounds = kernel.sizes.iter().zip(&kernel.size_bounds);
        let sizes = bounds.map(|(symbol, (min, max))| SizeParam {
            symbol: symbol.clone(),
            min: *min,
            max: *max,
            source: (0, 0),
        });
        plan.sizes = sizes.collect();
        let mut args = Vec::new();
        for (id, buffer) in kernel.params() {
            let name = buffer.name.clone();
            let port = Port {
                name: name.clone(),
                ty: TensorType::new(buffer.dtype, buffer.shape.clone()),
            };
            let mut slot = Slot {
                name: name.clone(),
                dtype: buffer.dtype,
                shape: buffer.shape.clone(),
                layout: buffer.layout.clone(),
                place: Place::Constant(plan.constants.len()),
            };
            match buffer.scope {
                Scope::Input if constants.contains(&id) => {
                    let bytes = slot.bytes().as_const();
                    plan.constants.push(PlanConstant {
                        name,
                        source: Source::Prepared(plan.constants.len()),
                        bytes: bytes.and_then(|n| usize::try_from(n).ok()).unwrap_or(0),
                    });
                }
                Scope::Input => {
                    slot.place = Place::Input(plan.inputs.len());
                    plan.inputs.push(port);
                }
                _ => {
                    slot.place = Place::Output(plan.outputs.len());
                    plan.outputs.push(port);
                }
            }
            args.push(SlotId(plan.slots.len() as u32));
            plan.slots.push(slot);
        }
        plan.steps.push(Step::Call(Call {
            kernel: KernelId(0),
            args,
            site_base: 0,
            nodes: vec![],
            alone: String::new(),
        }));
        plan.kernels.push(kernel);
        plan
    }
}
