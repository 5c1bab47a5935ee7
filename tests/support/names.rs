//! The names of the real models, for tests and for `cargo xtask`.

/// The models of `tests/models/catalog.py`, in the same order.
pub const MODELS: [&str; 14] = [
    "ppocr_det",
    "ppocr_rec",
    "ppocr_cls",
    "magika",
    "silero_vad",
    "silero_if",
    "minilm_l6",
    "mlp",
    "mobilenet_v2",
    "resnet50",
    "squeezenet",
    "densenet121",
    "inception_v1",
    "inception_v2",
];
