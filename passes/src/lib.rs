//! Graph passes, task partition, schedules and the memory plan.
