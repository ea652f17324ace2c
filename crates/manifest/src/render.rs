//! A finding the way compilers show it.
use annotate_snippets::{
    Annotation, AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet,
    normalize_untrusted_str,
};
use pointsman_model::{Finding, Level as Severity, Place};
use std::ops::Range;

/// Shows a finding with an excerpt of its text, several lines without a line break at the end:
///
/// ```text
/// error[PM0003]: `port` has the wrong type
///  --> mesh/reviews.yaml:7:11
///   |
/// 7 |     port: "80"
///   |           ^^^^ expected a whole number, found text
///   |
///   = effect: the document is set aside; …
///   = help: remove the quotes, or the text
/// ```
///
/// `source` is the text of the file of `finding.place`, `related_source` that of the file of
/// `finding.related` (not needed where both are the same file). Without them the place is named
/// and no excerpt shown. A text that has changed since gives a wrong excerpt, never a panic.
/// `color` adds ANSI escapes; escapes in the texts themselves are made visible instead.
pub fn render(
    finding: &Finding,
    source: Option<&str>,
    related_source: Option<&str>,
    color: bool,
) -> String {
    let level = match finding.level {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level
        .primary_title(finding.message.as_str())
        .id(finding.code.to_string());
    let mut group = Group::with_title(title);
    let primary = finding.place.as_ref().map(|place| Mark {
        place,
        width: finding.width,
        label: &finding.label,
        kind: AnnotationKind::Primary,
    });
    let related = finding.related.as_ref().map(|related| Mark {
        place: &related.place,
        width: 0,
        label: &related.label,
        kind: AnnotationKind::Context,
    });
    match (primary, related) {
        (Some(primary), Some(related)) if primary.place.file == related.place.file => {
            group = group.elements(excerpt(&[primary, related], source));
        }
        (primary, related) => {
            for (mark, source) in [(primary, source), (related, related_source)] {
                if let Some(mark) = mark {
                    group = group.elements(excerpt(&[mark], source));
                }
            }
        }
    }
    if !finding.effect.is_empty() {
        let text = normalize_untrusted_str(&finding.effect);
        group = group.element(Level::NOTE.with_name("effect").message(text));
    }
    if !finding.help.is_empty() {
        let text = normalize_untrusted_str(&finding.help);
        group = group.element(Level::HELP.message(text));
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    renderer.render(&[group])
}

/// Something to underline.
struct Mark<'a> {
    place: &'a Place,
    width: u32,
    label: &'a str,
    kind: AnnotationKind,
}

/// The lines of the marks, which are in one file, or its name alone.
fn excerpt<'a>(marks: &[Mark<'a>], source: Option<&'a str>) -> Vec<Element<'a>> {
    let lines = || marks.iter().map(|mark| mark.place.line);
    let (Some(first), Some(last)) = (lines().min(), lines().max()) else {
        return Vec::new();
    };
    let shown = source.and_then(|source| {
        let source = source.strip_prefix('\u{feff}').unwrap_or(source);
        let window = window(source, first, last)?;
        let mut snippet = Snippet::source(window).line_start(first as usize);
        for mark in marks {
            let span = span(
                window,
                mark.place.line - first,
                mark.place.column,
                mark.width,
            )?;
            snippet = snippet
                .path(&*mark.place.file)
                .annotation(annotation(mark, span));
        }
        Some(snippet.into())
    });
    match shown {
        Some(snippet) => vec![snippet],
        None => marks
            .iter()
            .map(|mark| {
                Origin::path(&*mark.place.file)
                    .line(mark.place.line as usize)
                    .char_column(mark.place.column as usize)
                    .into()
            })
            .collect(),
    }
}

fn annotation<'a>(mark: &Mark<'a>, span: Range<usize>) -> Annotation<'a> {
    let annotation = mark.kind.span(span);
    match mark.label {
        "" => annotation,
        label => annotation.label(label),
    }
}

/// The lines `first..=last`, counted from 1: all the renderer has to look at.
fn window(source: &str, first: u32, last: u32) -> Option<&str> {
    let first = usize::try_from(first.checked_sub(1)?).ok()?;
    let count = usize::try_from(last).ok()?.checked_sub(first)?;
    let start: usize = lines(source).take(first).map(str::len).sum();
    let rest = source.get(start..).filter(|rest| !rest.is_empty())?;
    let length: usize = lines(rest).take(count).map(str::len).sum();
    rest.get(..length)
        .map(|window| window.trim_end_matches(['\r', '\n']))
}

fn lines(text: &str) -> std::str::SplitInclusive<'_, char> {
    text.split_inclusive('\n')
}

/// Bytes of `width` characters at a place of the window, cut at the end of the line.
fn span(window: &str, line: u32, column: u32, width: u32) -> Option<Range<usize>> {
    let line = usize::try_from(line).ok()?;
    let start: usize = lines(window).take(line).map(str::len).sum();
    let text = window.get(start..)?;
    let text = text.lines().next().unwrap_or_default();
    let byte = |column: usize| {
        text.char_indices()
            .nth(column)
            .map_or(text.len(), |(byte, _)| byte)
    };
    let column = usize::try_from(column.checked_sub(1)?).ok()?;
    let width = usize::try_from(width).ok()?.max(1);
    Some(start + byte(column)..start + byte(column.saturating_add(width)))
}
