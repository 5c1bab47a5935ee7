//! Graph, loop and plan IR, the op table, reference evaluator and interpreters.
