//! What a Transom extension is: factories, verdicts, contexts, events and the registry of kinds.
