//! Problems as data, for editors, pipelines and whoever asks the admin address.
//!
//! Invariant: what is listed is what is drawn; the words are the same. Deliberately absent: the lines themselves.

use serde_json::{Value, json};

use super::{LoadError, Place, Problem, Problems};

impl Problems {
    /// A list with, for each problem, `file`, `line`, `column` and `length` (in characters, from 1; `null` where it
    /// concerns the file as a whole), `message`, `help`, and `labels`, which belong to places of their own.
    pub fn listed(&self) -> Value {
        self.iter().map(|problem| self.listed_one(problem)).collect()
    }

    fn listed_one(&self, problem: &Problem) -> Value {
        let own = problem.place.zip(problem.label.as_ref());
        let labels = own.into_iter().chain(problem.related.as_ref().map(|(place, label)| (*place, label)));
        let labels: Value =
            labels.map(|(place, label)| with(self.place(Some(place)), "message", label.clone())).collect();
        let listed = with(self.place(problem.place), "message", problem.message.clone());
        with(with(listed, "help", problem.help.clone()), "labels", labels)
    }

    fn place(&self, place: Option<Place>) -> Value {
        json!({
            "file": self.file(place.map_or(0, |place| place.file)),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column),
            "length": place.map(|place| place.length),
        })
    }
}

impl LoadError {
    /// The same of any reason why a file gives no configuration.
    pub fn listed(&self) -> Value {
        match self {
            LoadError::Problems(problems) => problems.listed(),
            LoadError::Unreadable { path, error } => Value::Array(vec![without_place(
                Some(&path.display().to_string()),
                &format!("cannot be read: {error}"),
            )]),
        }
    }
}

/// A problem that has no place in a file: what the machine said, for one.
pub fn without_place(file: Option<&str>, message: &str) -> Value {
    json!({ "file": file, "line": null, "column": null, "length": null, "message": message, "help": null, "labels": [] })
}

fn with(mut value: Value, key: &str, more: impl Into<Value>) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.insert(key.to_owned(), more.into());
    }
    value
}
