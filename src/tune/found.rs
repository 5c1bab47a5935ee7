//! Values by the text of what they are for.
use std::collections::BTreeMap;
use std::sync::Arc;
use tensmith_passes::schedule::parameters::Values;
use tensmith_passes::schedule::task::Tuned;

/// What was found, in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found(BTreeMap<String, Values>);

impl Found {
    /// Keeps the values of a task; later ones replace earlier ones.
    pub fn insert(&mut self, task: String, values: Values) {
        self.0.insert(task, values);
    }

    /// This and more, which replaces what is said here of the same tasks.
    pub fn and(&self, more: &Found) -> Found {
        let mut all = self.clone();
        all.0.extend(more.0.clone());
        all
    }

    /// The values of a task.
    pub fn get(&self, task: &str) -> Option<&Values> {
        self.0.get(task)
    }

    /// Tasks and their values, in the order of their texts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Values)> {
        self.0.iter().map(|(task, values)| (task.as_str(), values))
    }

    /// How many tasks have values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no task has values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As an option of compilation; `None` if nothing was found.
    pub fn option(self) -> Option<Arc<dyn Tuned>> {
        match self.0.is_empty() {
            true => None,
            false => Some(Arc::new(self)),
        }
    }
}

impl FromIterator<(String, Values)> for Found {
    fn from_iter<T: IntoIterator<Item = (String, Values)>>(pairs: T) -> Self {
        Found(pairs.into_iter().collect())
    }
}

impl Tuned for Found {
    fn values(&self, task: &str) -> Option<Values> {
        self.0.get(task).cloned()
    }
}
