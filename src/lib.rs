//! Tensmith, an ML compiler: ONNX models to machine code.
