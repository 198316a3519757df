use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree};
use std::fmt;
use std::path::Path;
use std::sync::{LazyLock, Once};

use super::style::PAPER;
use crate::error::{Error, Result};
use crate::file;
use crate::notebook::{self, Bundle, PNG, SVG};

/// A picture in two formats: SVG, sharp at any size, and PNG, made from the SVG, for readers that do not
/// trust the notebook's SVG (JupyterLab before "Trust notebook", GitHub).
///
/// As the last value of a cell it is shown below it; [`show`](super::show) shows one in the middle of a
/// cell. Every picture has an [alternative text](Picture::alt).
#[derive(Clone, PartialEq)]
pub struct Picture {
    svg: String,
    png: Vec<u8>,
    alt: String,
    size: (u32, u32),
}

/// Where a picture or a part of it is drawn.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// What drawing returns.
pub(super) type Drawn<T = ()> = std::result::Result<T, DrawingAreaErrorKind<std::io::Error>>;

/// Something that can be drawn.
pub(super) trait Drawing {
    /// The title in a few words.
    fn title(&self) -> String;

    /// What the picture shows, in words, for readers who do not see it.
    fn alt(&self) -> String;

    fn draw(&self, area: &Area<'_>) -> Drawn;
}

impl Picture {
    /// Draws a picture, `size` being (width, height) in pixels.
    pub(super) fn new(size: (u32, u32), drawing: &impl Drawing) -> Result<Self> {
        let (svg, alt) = draw_svg(size, drawing)?;
        let png = render(&svg, size)?;
        Ok(Self { svg, png, alt, size })
    }

    /// The picture as SVG.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The picture as a PNG file.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// What the picture shows, in words: the axes and their ranges, and the values that count. A notebook
    /// keeps it as the picture's alternative text, for readers who do not see the picture.
    ///
    /// ```
    /// use seq2seq::prelude::*;
    ///
    /// let picture = plot::lines("Error", "step", "MSE", &[("network", &[(1.0, 0.5), (2.0, 0.25)])])?;
    /// assert!(picture.alt().contains("network falls from 0.5 to 0.25"));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn alt(&self) -> &str {
        &self.alt
    }

    /// Writes the picture to `path`; its ending, `.svg` or `.png`, says in which format. A file that is
    /// there is replaced only once the new one is complete.
    ///
    /// # Errors
    /// [`Error::Setting`] for another ending, [`Error::Io`] when the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => self.svg.as_bytes(),
            Some("png") => &self.png,
            _ => {
                let allowed = "a file name that ends in .svg or .png";
                return Err(Error::setting("path", path.display(), allowed));
            }
        };
        file::replace(path, bytes).map_err(|e| Error::io(path, e))
    }

    /// Shows the picture below the cell: evcxr calls this for the last value of a cell. Both
    /// formats go into one bundle, of which the reader takes what it can show.
    pub fn evcxr_display(&self) {
        if notebook::reads_marks() {
            return self.bundle().show();
        }
        println!(
            "EVCXR_BEGIN_CONTENT image/svg+xml\n{}\nEVCXR_END_CONTENT\n\
             EVCXR_BEGIN_CONTENT image/png\n{}\nEVCXR_END_CONTENT",
            self.svg,
            STANDARD.encode(&self.png)
        );
    }

    /// The picture for a notebook that keeps alternative texts.
    pub(super) fn bundle(&self) -> Bundle {
        self.bundle_with(self.alt.clone())
    }

    /// As [`bundle`](Picture::bundle), with another text where no picture can be shown.
    pub(crate) fn bundle_with(&self, text: String) -> Bundle {
        Bundle::text(text).with_image(SVG, self.svg.clone(), &self.alt).with_image(
            PNG,
            STANDARD.encode(&self.png),
            &self.alt,
        )
    }
}

/// Draws an SVG, `size` being (width, height) in pixels, and returns it with its alternative text.
pub(super) fn draw_svg(size: (u32, u32), drawing: &impl Drawing) -> Result<(String, String)> {
    // An SVG takes the reader's own sans-serif, and uses this one to measure.
    static FONT: Once = Once::new();
    FONT.call_once(|| {
        let font = dejavu::sans::regular();
        let _ = register_font("sans-serif", FontStyle::Normal, font); // else drawing fails
    });
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let drawn = area
            .fill(&PAPER) // readable on a dark theme too
            .and_then(|()| drawing.draw(&area))
            .and_then(|()| area.present());
        drawn.map_err(|e| Error::Picture(e.to_string()))?;
    }
    let alt = drawing.alt();
    let svg = with_words(&svg, &drawing.title(), &alt)?;
    Ok((svg, alt))
}

/// The SVG with its title and description, by the rules that screen readers follow: the role of an
/// image, which hides the parts, and a label.
fn with_words(svg: &str, title: &str, alt: &str) -> Result<String> {
    let none = || Error::Picture("the SVG has no root".to_owned());
    let (before, root) = svg.split_once("<svg ").ok_or_else(none)?;
    let (attributes, content) = root.split_once('>').ok_or_else(none)?;
    let (title, alt) = (escape(title), escape(alt));
    Ok(format!(
        "{before}<svg role=\"img\" aria-label=\"{alt}\" {attributes}>\n\
         <title>{title}</title>\n<desc>{alt}</desc>{content}"
    ))
}

/// `text` as XML, in an element or in quotes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // XML has no way to write other control characters.
            _ if character.is_control() => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {})", self.size.0, self.size.1)
    }
}

/// The SVG as a PNG file. It carries its font along, so that it looks the same on every machine.
fn render(svg: &str, (width, height): (u32, u32)) -> Result<Vec<u8>> {
    static OPTIONS: LazyLock<Options<'static>> = LazyLock::new(|| {
        let mut options = Options::default();
        let fonts = options.fontdb_mut();
        fonts.load_font_data(dejavu::sans::regular().to_vec());
        fonts.set_sans_serif_family("DejaVu Sans");
        options
    });
    let tree = Tree::from_str(svg, &OPTIONS).map_err(|e| Error::Picture(e.to_string()))?;
    let too_large = || Error::Picture(format!("there is no room for {width} x {height} pixels"));
    let mut pixels = Pixmap::new(width, height).ok_or_else(too_large)?;
    pixels.fill(Color::WHITE);
    resvg::render(&tree, Transform::identity(), &mut pixels.as_mut());
    // On paper without holes, the fourth number of each pixel says nothing.
    let colors: Vec<u8> = pixels.data().chunks_exact(4).flat_map(|p| &p[..3]).copied().collect();
    encode_png(&colors, (width, height)).map_err(|e| Error::Picture(e.to_string()))
}

fn encode_png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Flat colours: unfiltered rows repeat, which is what the compression finds.
    encoder.set_filter(png::Filter::NoFilter);
    encoder.set_compression(png::Compression::Balanced);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(bytes)
}
