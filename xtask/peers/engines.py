"""The engines: each takes a model, its inputs and a number of threads, and gives a function that
runs it once and a function that gives the outputs of the last run.

Every engine computes in float32 with all of its optimisations, for latency, with its inputs bound
before the clock starts wherever its interface allows that. The caller keeps the inputs alive.
"""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

CONVERSION_S = 600


def onnxruntime(model, inputs, threads, _folder):
    """onnxruntime's CPU provider, inputs and outputs bound."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_cpu_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return lambda: session.run_with_iobinding(binding), binding.copy_outputs_to_cpu


def openvino(model, inputs, threads, _folder):
    """OpenVINO's CPU plugin, one stream."""
    import openvino as ov

    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    core = ov.Core()
    compiled = core.compile_model(core.read_model(model), "CPU", settings)
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        name = next((name for name in port.get_names() if name in inputs), None)
        if name is None:
            raise ValueError(f"none of {sorted(port.get_names())} is an input of the case")
        request.set_tensor(port, ov.Tensor(inputs[name], shared_memory=True))
    return request.infer, lambda: [request.get_tensor(port).data for port in compiled.outputs]


def mnn(model, inputs, threads, folder):
    """MNN's modules in high precision. Values are written and read in each run."""
    product = folder / "model.mnn"
    if not product.exists():
        # Not by the command of the same name, which installs a package that reports usage.
        convert = "import sys, _tools; _tools.mnnconvert(sys.argv)"
        unfinished = folder / "unfinished.mnn"
        files = ["--modelFile", model, "--MNNModel", unfinished]
        command = [sys.executable, "-c", convert, "-f", "ONNX", "--bizCode", "b", *files]
        shell(command, folder)
        unfinished.rename(product)

    import MNN.expr as expr
    import MNN.nn as nn

    settings = {"backend": 0, "precision": "high", "numThread": threads}
    runtime = nn.create_runtime_manager((settings,))
    names = [list(inputs), output_names(model, folder)]
    net = nn.load_module_from_file(str(product), *names, runtime_manager=runtime)
    kinds = {"float32": expr.float, "int32": expr.int, "uint8": expr.uint8}
    feed = []
    for value in map(narrow, inputs.values()):
        feed.append(expr.const(value, list(value.shape), expr.NCHW, kinds[str(value.dtype)]))

    def run():
        return [value.read() for value in net.onForward(feed)]

    def outputs():
        values = [expr.convert(value, expr.NCHW) for value in net.onForward(feed)]
        return [np.array(value.read()).reshape(value.shape) for value in values]

    return run, outputs


def ncnn(model, inputs, threads, folder):
    """ncnn by its converter pnnx; an extractor for each run, as ncnn is used."""
    parameters = folder / "model.ncnn.param"
    if not parameters.exists():
        convert_for_ncnn(model, inputs, folder)

    import ncnn as engine

    net = engine.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(net.opt, option, False)
    weights = parameters.with_suffix(".bin")
    if net.load_param(str(parameters)) or net.load_model(str(weights)):
        raise ValueError("the converted model cannot be loaded")
    feed = []
    for value in map(narrow, inputs.values()):
        value = value[0] if value.ndim > 1 and value.shape[0] == 1 else value
        feed.append(engine.Mat(np.ascontiguousarray(value)).clone())
    feed = list(zip(net.input_names(), feed, strict=True))
    names = net.output_names()

    def run():
        extractor = net.create_extractor()
        for name, value in feed:
            extractor.input(name, value)
        return [extractor.extract(name) for name in names]

    def outputs():
        results = run()
        if any(status for status, _ in results):
            raise ValueError(f"a run failed: {[status for status, _ in results]}")
        return [np.array(value) for _, value in results]

    return run, outputs


def convert_for_ncnn(model, inputs, folder):
    """The converter writes beside its input and names its products after it."""
    package = importlib.util.find_spec("pnnx")
    converter = Path(package.submodule_search_locations[0]) / "pnnx"
    converter.chmod(0o755)
    kinds = {"float32": "f32", "int32": "i32", "int64": "i64", "uint8": "u8"}
    shapes = ",".join(
        f"[{','.join(map(str, value.shape))}]{kinds[str(value.dtype)]}"
        for value in inputs.values()
    )
    work = folder / "unfinished"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    shutil.copy(model, work / "model.onnx")
    shell([converter, work / "model.onnx", "fp16=0", f"inputshape={shapes}"], folder)
    for product in ("model.ncnn.bin", "model.ncnn.param"):
        (work / product).rename(folder / product)
    shutil.rmtree(work)


def narrow(value):
    """Converters turn int64 inputs into int32."""
    value = value.astype(np.int32) if value.dtype == np.int64 else value
    return np.ascontiguousarray(value)


def output_names(model, folder):
    """The outputs of a model file, which is read for them once."""
    known = folder / "outputs.json"
    if not known.exists():
        import onnx

        graph = onnx.load(model, load_external_data=False).graph
        known.write_text(json.dumps([value.name for value in graph.output]))
    return json.loads(known.read_text())


def shell(command, folder):
    """Run a converter, with its words in a file of `folder`."""
    with open(folder / "log.txt", "a") as log:
        words = [str(word) for word in command]
        subprocess.run(words, stdout=log, stderr=log, timeout=CONVERSION_S, check=False)


ENGINES = {"onnxruntime": onnxruntime, "openvino": openvino, "mnn": mnn, "ncnn": ncnn}

# What each engine imports.
MODULES = {
    "onnxruntime": ["onnxruntime"],
    "openvino": ["openvino"],
    "mnn": ["MNN.expr", "MNN.nn"],
    "ncnn": ["ncnn"],
}
