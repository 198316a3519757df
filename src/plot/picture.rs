use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use std::fmt;
use std::path::Path;
use std::sync::Once;

use super::style::PAPER;
use crate::error::{Error, Result};

/// A picture in two formats: SVG, sharp at any size, and PNG, for readers that do not trust the
/// notebook's SVG (JupyterLab before "Trust notebook", GitHub).
///
/// As the last value of a cell it is shown below it.
#[derive(Clone, PartialEq)]
pub struct Picture {
    svg: String,
    png: Vec<u8>,
    size: (u32, u32),
}

/// What drawing on a backend of plotters returns.
pub(super) type Drawn<DB> =
    std::result::Result<(), DrawingAreaErrorKind<<DB as DrawingBackend>::ErrorType>>;

/// Something that can be drawn on any backend of plotters.
pub(super) trait Drawing {
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>) -> Drawn<DB>;
}

impl Picture {
    /// Draws the same thing twice, `size` being (width, height) in pixels.
    pub(super) fn new(size: (u32, u32), drawing: &impl Drawing) -> Result<Self> {
        // The bitmap carries its font along, so that it looks the same on every machine. An SVG
        // takes the reader's own sans-serif, and uses this one to measure.
        static FONT: Once = Once::new();
        FONT.call_once(|| {
            let font = dejavu::sans::regular();
            let _ = register_font("sans-serif", FontStyle::Normal, font); // else drawing fails
        });
        let mut svg = String::new();
        paint(SVGBackend::with_string(&mut svg, size), drawing)?;
        let mut pixels = vec![0; (size.0 * size.1 * 3) as usize];
        paint(BitMapBackend::with_buffer(&mut pixels, size), drawing)?;
        let png = encode_png(&pixels, size).map_err(|e| Error::Picture(e.to_string()))?;
        Ok(Self { svg, png, size })
    }

    /// The picture as SVG.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The picture as a PNG file.
    pub fn png(&self) -> &[u8] {
        &self.png
    }

    /// Writes the picture to `path`; its ending, `.svg` or `.png`, says in which format.
    ///
    /// # Errors
    /// [`Error::Setting`] for another ending, [`Error::Io`] when the file can not be written.
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
        std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
    }

    /// Shows the picture below the cell: evcxr calls this for the last value of a cell. Both
    /// formats go into one bundle, of which the reader takes what it can show.
    pub fn evcxr_display(&self) {
        println!(
            "EVCXR_BEGIN_CONTENT image/svg+xml\n{}\nEVCXR_END_CONTENT\n\
             EVCXR_BEGIN_CONTENT image/png\n{}\nEVCXR_END_CONTENT",
            self.svg,
            STANDARD.encode(&self.png)
        );
    }
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} x {})", self.size.0, self.size.1)
    }
}

fn paint<DB: DrawingBackend>(backend: DB, drawing: &impl Drawing) -> Result<()> {
    let area = backend.into_drawing_area();
    let drawn = area
        .fill(&PAPER) // readable on a dark theme too
        .and_then(|()| drawing.draw(&area))
        .and_then(|()| area.present());
    drawn.map_err(|e| Error::Picture(e.to_string()))
}

fn encode_png(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // Flat colours: unfiltered rows repeat, which is what the compression finds.
    encoder.set_filter(png::FilterType::NoFilter);
    encoder.set_compression(png::Compression::Best);
    encoder.write_header()?.write_image_data(pixels)?;
    Ok(bytes)
}
