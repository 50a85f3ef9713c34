//! The reference of all keys, as a page for users.

use super::{Key, Section, Shape, Written, sections};

const INTRODUCTION: &str = "# Configuration

Every key, what may stand behind it, and what holds without it. This page is made from the declarations that `evenkeel schema` prints
as a JSON Schema ([conf/schema.json](../conf/schema.json)); [conf/reference.yaml](../conf/reference.yaml) shows the same as a file. An
editor with YAML support completes and checks with this line at the top of a file:

```yaml
# yaml-language-server: $schema=https://raw.githubusercontent.com/evenkeel/evenkeel/main/conf/schema.json
```

- *duration*: `250ms`, `10s`, `5m`, `1h`, `1d`; up to `365d`, never 0. *size*: `512B`, `64KiB`, `1MiB`, `1GiB` (or `KB`, `MB`, `GB` of
  1000). *share*: `0%` to `100%`. `on` and `off` may be written `true` and `false`.
- Relative paths start at the folder of the file that names them.
- In values `${NAME}` stands for a variable of the environment, which must be set and not empty; `${NAME:-default}` has a default;
  `$${` stands for `${` itself.
- Unknown keys, keys that are written twice, and references to what is not there are errors: `evenkeel check` lists them all.
";

/// The page.
pub fn reference() -> String {
    let mut page = INTRODUCTION.to_owned();
    for section in sections() {
        describe(section, &mut page);
    }
    page
}

fn describe(section: &Section, page: &mut String) {
    let title = if section.kind.is_empty() { "The file" } else { section.kind };
    let users = users_of(section);
    let mut line = |text: &str| {
        page.push_str(text);
        page.push('\n');
    };
    line(&format!("\n## {title}"));
    if !users.is_empty() {
        line(&format!("Stands behind {}.", users.join(", ")));
    }
    if !section.one_of.is_empty() {
        line(&format!("Exactly one of {} must be written.", quoted(section.one_of).join(", ")));
    }
    if section.keys.is_empty() {
        line("It has no keys: write `{}`.");
        return;
    }
    line("");
    line("| Key | Value | Default | What it is for |");
    line("|---|---|---|---|");
    for key in section.keys {
        line(&row(key));
    }
}

fn row(key: &Key) -> String {
    let default = match key.written {
        Written::Required => "**required**".to_owned(),
        Written::Default(default) => format!("`{default}`"),
        Written::Otherwise(otherwise) => otherwise.to_owned(),
    };
    format!("| `{}` | {} | {default} | {} |", key.name, shown(&key.shape), key.about.replace('|', "\\|"))
}

fn shown(shape: &Shape) -> String {
    match shape {
        Shape::Duration => "duration".to_owned(),
        Shape::Size => "size".to_owned(),
        Shape::Share => "share".to_owned(),
        Shape::Number(least, u64::MAX) => format!("number, at least {least}"),
        Shape::Number(least, most) => format!("number, {least} to {most}"),
        Shape::Switch => "`on`, `off`".to_owned(),
        Shape::Text(what) => (*what).to_owned(),
        Shape::Words(words) => quoted(words).join(", "),
        Shape::List(item) => format!("list of: {}", shown(item)),
        Shape::Names(names, value) => format!("mapping from {names} to: {}", shown(value)),
        Shape::Section(section) => format!("[{}](#{})", section.kind, section.kind.replace(' ', "-")),
        Shape::Either(shapes) => shapes.iter().map(shown).collect::<Vec<_>>().join(", or "),
    }
}

fn quoted(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| format!("`{word}`")).collect()
}

/// Where a section stands, as a reader would look for it.
fn users_of(wanted: &Section) -> Vec<String> {
    let mut users = Vec::new();
    for section in sections() {
        for key in section.keys.iter().filter(|key| holds(&key.shape, wanted)) {
            users.push(match section.kind {
                "" => format!("`{}`", key.name),
                kind => format!("`{}` of [{kind}](#{})", key.name, kind.replace(' ', "-")),
            });
        }
    }
    users
}

fn holds(shape: &Shape, wanted: &Section) -> bool {
    match shape {
        Shape::Section(section) => section.kind == wanted.kind,
        Shape::List(item) | Shape::Names(_, item) => holds(item, wanted),
        Shape::Either(shapes) => shapes.iter().any(|shape| holds(shape, wanted)),
        Shape::Duration
        | Shape::Size
        | Shape::Share
        | Shape::Number(..)
        | Shape::Switch
        | Shape::Text(_)
        | Shape::Words(_) => false,
    }
}
