//! Every picture is there in both formats, decodable, of the same size, and says what it shows.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use seq2seq::plot::Picture;
use seq2seq::prelude::*;
use seq2seq::train::Epoch;

/// The words in the picture, without its title and description.
fn drawn(picture: &Picture) -> String {
    let svg = roxmltree::Document::parse(picture.svg()).unwrap();
    let texts = svg.descendants().filter(|node| node.tag_name().name() == "text");
    texts.filter_map(|node| node.text()).collect()
}

#[track_caller]
fn check(picture: &Picture, words: &[&str]) {
    let svg = roxmltree::Document::parse(picture.svg()).unwrap();
    let root = svg.root_element();
    let size = |name: &str| root.attribute(name).unwrap().parse::<u32>().unwrap();
    let text = drawn(picture);
    for word in words {
        assert!(text.contains(word), "{word} is not in the picture: {text}");
    }
    let child = |name: &str| {
        let mut children = root
            .children()
            .filter(|child| child.has_tag_name(("http://www.w3.org/2000/svg", name)));
        children.next().and_then(|child| child.text()).unwrap().to_owned()
    };
    assert_eq!(root.first_element_child().unwrap().tag_name().name(), "title");
    assert!(child("title").len() > 4);
    assert_eq!(
        (root.attribute("role"), root.attribute("aria-label")),
        (Some("img"), Some(picture.alt()))
    );
    assert_eq!(child("desc"), picture.alt());
    let (pixels, png_size) = pixels(picture);
    assert_eq!(png_size, (size("width"), size("height")));
    let dark = pixels.chunks(3).filter(|p| p.iter().all(|&v| v < 100)).count();
    assert!(dark > 200, "only {dark} dark pixels: no text was drawn");
}

/// The colours of a PNG, three bytes a pixel, and its width and height.
fn pixels(picture: &Picture) -> (Vec<u8>, (u32, u32)) {
    let mut reader = png::Decoder::new(Cursor::new(picture.png())).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (pixels, (info.width, info.height))
}

/// Lines of two pixels, from the top of the chart to its bottom and back in every pixel: where strokes are
/// joined by points, those shoot out.
#[test]
fn dense_noise_stays_within_the_axes_of_the_png() {
    let noise: Vec<_> = (0..800).map(|i| (f64::from(i), f64::from(i * 7919 % 101))).collect();
    let picture = plot::lines("Noise", "step", "value", &[("noise", &noise)]).unwrap();
    let (pixels, (width, height)) = pixels(&picture);
    let is_blue = |p: &[u8]| p[2] > 150 && p[0] < 60;
    let blue_in = |x: std::ops::Range<u32>, y: std::ops::Range<u32>| {
        let at = |x: u32, y: u32| &pixels[((y * width + x) * 3) as usize..][..3];
        y.flat_map(|y| x.clone().map(move |x| (x, y))).filter(|&(x, y)| is_blue(at(x, y))).count()
    };
    assert!(blue_in(90..846, 72..342) > 20_000, "no line");
    // The title and the legend, whose sample ends at 44; the axes' labels.
    assert_eq!(blue_in(45..width, 0..70), 0, "above");
    assert_eq!(blue_in(0..width, 345..height), 0, "below");
    assert_eq!(blue_in(0..88, 72..height) + blue_in(848..width, 0..height), 0, "beside");
}

#[test]
fn steps_have_whole_numbers_once_each() {
    let data = Dataset::new(vec![0.1, 0.4], vec![0.3], 2, 1, 1).unwrap();
    let svg = plot::examples(&data, 1).unwrap().svg().to_owned();
    let svg = roxmltree::Document::parse(&svg).unwrap();
    let texts =
        svg.descendants().filter(|node| node.has_tag_name(("http://www.w3.org/2000/svg", "text")));
    let labels: Vec<&str> = texts.filter_map(|node| node.text()).map(str::trim).collect();
    for step in ["1", "2", "3"] {
        assert_eq!(labels.iter().filter(|&&label| label == step).count(), 1, "{labels:?}");
    }
}

#[test]
fn pictures_that_no_memory_has_room_for_are_refused() {
    let data = noisy_waves(NoisyWaves { series: 20_000, ..Default::default() }).unwrap();
    let prediction = repeat_last(&data);
    for count in [61, 5_000, 20_000] {
        for refused in [
            plot::predictions(&data, &prediction, count),
            plot::examples(&data, count),
            plot::forecasts(&data, &prediction, &prediction, count),
        ] {
            let message = refused.unwrap_err().to_string();
            let expected = format!("count is {count}, but it must be from 1 to 60");
            assert!(message.contains(&expected), "{message}");
        }
    }
    check(&plot::predictions(&data, &prediction, 60).unwrap(), &["series 59"]);

    let names: Vec<usize> = (0..100_000).collect();
    let refused = plot::heat_map("row", &names, "column", &[1], &vec![0.5; names.len()]);
    assert!(refused.unwrap_err().to_string().contains("from 1 to 30"));
    let model = Seq2Seq::stacked(1, &Hyperparameters::default()).unwrap();
    let endless = plot::encoder_decoder(&model, usize::MAX, 1 << 32).unwrap();
    check(&endless, &["encoder", &format!("x{}", usize::MAX), "y4294967296"]);
    let refused = plot::unrolled(&vec![3; 1_000_000], 5).unwrap_err().to_string();
    assert!(refused.contains("the number of layers is 1000000, but it must be from 1 to 16"));
    let points = |count: u16| -> Vec<(f64, f64)> { (0..count).map(|i| (i.into(), 1.0)).collect() };
    let (most, one) = (points(20_000), points(1));
    check(&plot::lines("Many points", "x", "y", &[("full", &most)]).unwrap(), &["full"]);
    let more = [("full", &most[..]), ("one more", &one)];
    for refused in [plot::lines("t", "x", "y", &more), plot::log_lines("t", "x", "y", &more)] {
        let message = refused.unwrap_err().to_string();
        let expected = "the number of points is 20001, but it must be at most 20000";
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_value_that_has_no_place_on_an_axis_is_named_and_not_searched_for() {
    let data = sine_cosine(SineCosine { series: 3, ..Default::default() }).unwrap();
    for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let mut prediction = data.future().to_vec();
        prediction[20 + 2 * 4 + 1] = value;
        let prediction = data.forecast(prediction).unwrap();
        let refused = plot::predictions(&data, &prediction, 2).unwrap_err().to_string();
        let place = "the predicted value of series 1, step 4, feature 1 is";
        assert!(refused.contains(place), "{refused}");
        // The third panel is not drawn.
        assert!(plot::predictions(&data, &prediction, 1).is_ok());
        let naive = repeat_last(&data);
        let errors = plot::forecasts(&data, &naive, &prediction, 2).unwrap_err().to_string();
        assert!(errors.contains("the error of series 1, step 4, feature 1 is"), "{errors}");
    }
    let of = |points: &[(f64, f64)]| plot::lines("t", "x", "y", &[("line", points)]);
    let log_of = |points: &[(f64, f64)]| plot::log_lines("t", "x", "y", &[("line", points)]);
    for points in [
        [(0.0, -1e308), (1.0, 1e308)],
        [(-1e308, 0.0), (1e308, 0.0)],
        [(0.0, f64::INFINITY), (1.0, 0.0)],
        [(f64::NAN, 0.0), (1.0, 0.0)],
    ] {
        let refused = of(&points).unwrap_err().to_string();
        assert!(
            refused.contains("of line") && refused.contains("from -1e100 to 1e100"),
            "{refused}"
        );
    }
    for y in [-1.0, 0.0, 1e-308, 1e308, f64::NAN] {
        let refused = log_of(&[(0.0, 1.0), (1.0, y)]).unwrap_err().to_string();
        assert!(refused.contains("the y of line at x = 1 is"), "{refused}");
    }
}

/// Ranges on which equal steps are lost in rounding, or are nothing at all.
#[test]
fn ranges_that_f64_hardly_tells_apart_are_drawn() {
    for (low, high) in [
        (1e16, 1e16 + 2.0),
        (-1e16 - 2.0, -1e16),
        (0.0, 1e-320),
        (-1e100, 1e100),
        (1.0, 1.0 + f64::EPSILON),
    ] {
        let points = [(low, high), (high, low)];
        check(&plot::lines("Title", "x", "y", &[("line", &points)]).unwrap(), &["line"]);
        if low > 0.0 {
            check(&plot::log_lines("Title", "x", "y", &[("line", &points)]).unwrap(), &["line"]);
        }
    }
    let data = Dataset::new(vec![-3e38, 3e38], vec![0.0], 2, 1, 1).unwrap();
    check(&plot::examples(&data, 1).unwrap(), &["past"]);
    let data = Dataset::new(vec![0.0, 1e-45], vec![0.0], 2, 1, 1).unwrap();
    check(&plot::examples(&data, 1).unwrap(), &["past"]);
}

#[test]
fn all_pictures_are_drawn_in_both_formats() {
    let hyperparameters = Hyperparameters { epochs: 2, ..Default::default() };
    let data = sine_cosine(SineCosine { series: 120, past_steps: 4, ..Default::default() });
    let (train, validation) = data.unwrap().split(0.15).unwrap();
    let mut model = Seq2Seq::stacked(2, &hyperparameters).unwrap();
    let history = fit(&mut model, &train, &validation, &hyperparameters).unwrap();
    let prediction = model.predict(&validation).unwrap();

    let examples = plot::examples(&train, 3).unwrap();
    check(&examples, &["past", "true future", "feature 1", "time step", "value", "series 2"]);
    let predictions = plot::predictions(&validation, &prediction, 10).unwrap();
    check(&predictions, &["past", "true future", "prediction", "feature 1", "series 9"]);
    let text = drawn(&predictions);
    assert_eq!(text.matches("true future").count(), 1, "the legend stands once");
    assert!(!text.contains("series 10"), "ten are ten");
    let losses = plot::losses(&history).unwrap();
    check(&losses, &["training part", "validation part", "epoch", "MSE"]);
    let errors = [0.5, 0.25, f64::NAN, 0.125];
    let heat_map = plot::heat_map("size", &[3, 6], "rate", &[0.01, 0.1], &errors).unwrap();
    check(&heat_map, &["size", "rate", "0.01", "6", "0.12500", "NaN"]);
    let by_step = plot::by_step("MSE", &[("first", &[0.5, 0.7]), ("second", &[0.1, 0.9])]).unwrap();
    check(&by_step, &["Error by forecast step", "first", "second", "forecast step", "MSE"]);
    let one = plot::lines("A point", "x name", "y name", &[("alone", &[(3.0, -2.0)])]).unwrap();
    check(&one, &["A point", "x name", "y name", "alone"]);
    let prices = [("price", &[(2014.0, 300.0), (2017.0, 10_000.0)][..])];
    let log_lines = plot::log_lines("Prices", "year", "dollars", &prices).unwrap();
    check(&log_lines, &["Prices", "year", "dollars", "price", "500", "5000"]);
    let errors = validation.constant_forecast(0.5);
    let forecasts = plot::forecasts(&validation, &prediction, &errors, 2).unwrap();
    check(&forecasts, &["Forecasts", "past", "true future", "prediction", "series 1"]);
    assert_eq!(forecasts.svg().matches("<polygon").count(), 4, "a band for each feature");
    let diagram = plot::encoder_decoder(&model, 4, 10).unwrap();
    check(&diagram, &["encoder", "decoder", "states", "dense (2)", "layer 1 (12)", "y10"]);
}

#[test]
fn recurrent_layers_are_unrolled() {
    let stack = plot::unrolled(&[20, 12], 50).unwrap();
    check(&stack, &["layer 0 (20)", "layer 1 (12)", "x1", "x3", "x50", "h50", "...", "state"]);
    assert!(!drawn(&stack).contains("x4"), "steps are left out");
    for steps in 1..=4 {
        let picture = plot::unrolled(&[7], steps).unwrap();
        check(&picture, &["layer 0 (7)", &format!("x{steps}"), &format!("h{steps}")]);
        assert!(!drawn(&picture).contains("..."), "all {steps} are drawn");
    }
    for (layers, steps, expected) in [
        (&[][..], 5, "the number of layers is 0"),
        (&[20, 0], 5, "a layer's size is 0"),
        (&[20], 0, "steps is 0"),
    ] {
        let error = plot::unrolled(layers, steps).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn every_cell_is_drawn() {
    let simple = plot::cell(Cell::SimpleRnn).unwrap();
    check(&simple, &["tanh", "h' = tanh(W x + U h)", "step t-1"]);
    assert!(!drawn(&simple).contains("sigmoid"), "it has no gate");
    let gru = plot::cell(Cell::Gru).unwrap();
    check(&gru, &["GRU", "n = tanh(W x + r × (U h))", "h' = (1 - z) × n + z × h", "1-"]);
    let lstm = plot::cell(Cell::Lstm).unwrap();
    check(&lstm, &["LSTM", "c' = f × c + i × g", "h' = o × tanh(c')", "sigmoid"]);
}

/// Whether errors fall over decades, a little, or not at all: the axis has numbers on it.
#[test]
fn the_axis_of_losses_has_numbers_on_any_range() {
    let epoch = |mse: f64| seq2seq::train::Epoch {
        loss: mse,
        train_mse: mse,
        validation_mse: mse,
        train_mse_all: mse,
        validation_mse_all: mse,
        seconds: 0.1,
    };
    let cases: [(&[f64], &[&str]); 7] = [
        (&[1.0, 1e-12], &["1", "0.01", "0.000001", "1e-10"]),
        (&[300.0, 2e-3], &["0.01", "0.1", "1", "10", "100"]),
        (&[0.5, 0.01], &["0.01", "0.02", "0.05", "0.1", "0.2", "0.5"]),
        (&[0.36, 0.2], &["0.2", "0.25", "0.3", "0.35"]),
        (&[0.0231, 0.0229], &["0.0225", "0.023", "0.0235"]),
        (&[0.1, 0.0], &["0.1"]),
        (&[0.0], &["1"]),
    ];
    for (errors, ticks) in cases {
        let history = History::new(errors.iter().map(|&mse| epoch(mse)).collect()).unwrap();
        let picture = plot::losses(&history).unwrap();
        let svg = roxmltree::Document::parse(picture.svg()).unwrap();
        let texts: Vec<_> = svg.descendants().filter_map(|n| n.text()).map(str::trim).collect();
        for tick in ticks {
            assert!(texts.contains(tick), "{errors:?}: {tick} is not in {texts:?}");
        }
    }
}

/// The ticks of prices must fit beside the axis, and those of small values must differ.
#[test]
fn ticks_are_as_short_as_they_can_be() {
    for (scale, expected, unexpected) in
        [(1e4, "15000", "15000."), (1.0, "1.5", "1.50"), (1e-5, "0.000015", "0.0000150")]
    {
        let (past, future) = (vec![scale; 4], vec![2.0 * scale; 4]);
        let data = Dataset::new(past, future, 4, 4, 1).unwrap();
        let picture = plot::examples(&data, 1).unwrap();
        check(&picture, &[expected]);
        assert!(!drawn(&picture).contains(unexpected), "{unexpected}");
    }
}

#[test]
fn only_what_is_predicted_is_drawn() {
    let data = sine_cosine(SineCosine { series: 3, ..Default::default() }).unwrap();
    let sine = data.with_targets(1).unwrap();
    let picture = plot::predictions(&sine, &repeat_last(&sine), 2).unwrap();
    check(&picture, &["past", "prediction", "series 1"]);
    assert!(!drawn(&picture).contains("feature"));
}

#[test]
fn a_picture_is_saved_by_its_ending() {
    let folder = tempfile::tempdir().unwrap();
    let picture = plot::examples(&sine_cosine(SineCosine::default()).unwrap(), 1).unwrap();
    let path = |name: &str| folder.path().join(name);
    picture.save(path("a.svg")).unwrap();
    assert_eq!(std::fs::read_to_string(path("a.svg")).unwrap(), picture.svg());
    picture.save(path("a.png")).unwrap();
    assert_eq!(std::fs::read(path("a.png")).unwrap(), picture.png());
    let message = picture.save(path("a.jpeg")).unwrap_err().to_string();
    assert!(message.contains("a.jpeg") && message.contains(".svg or .png"), "{message}");
}

#[test]
fn too_many_series_are_refused() {
    let data = sine_cosine(SineCosine { series: 3, ..Default::default() }).unwrap();
    for count in [0, 4] {
        let message = plot::examples(&data, count).unwrap_err().to_string();
        assert!(message.contains(&format!("count is {count}")), "{message}");
    }
    let (naive, one) = (repeat_last(&data), repeat_last(&data.select([0]).unwrap()));
    let message = plot::predictions(&data, &one, 1).unwrap_err().to_string();
    assert!(message.contains("the number of series of the forecast is 1, but 3"), "{message}");
    let message = plot::heat_map("a", &[1], "b", &[1, 2], &[0.5]).unwrap_err().to_string();
    assert!(message.contains("is 1, but 2"), "{message}");
    let message = plot::forecasts(&data, &naive, &one, 1).unwrap_err().to_string();
    assert!(message.contains("the number of series of the errors is 1, but 3"), "{message}");
    let on_zero = plot::log_lines("t", "x", "y", &[("a", &[(1.0, 0.0)])]).unwrap_err();
    assert!(
        on_zero.to_string().contains("the y of a at x = 1 is 0, but a logarithmic"),
        "{on_zero}"
    );
    let line = |points: &[(f64, f64)]| plot::lines("t", "x", "y", &[("a", points)]).unwrap_err();
    assert!(line(&[]).to_string().contains("no point"));
    assert!(
        line(&[(0.0, 1.0), (1.0, f64::NAN)]).to_string().contains("the y of a at x = 1 is NaN")
    );
}

#[test]
fn pictures_are_described_by_their_data() {
    let epoch = |train_mse: f64, validation_mse: f64| Epoch {
        loss: 0.1,
        train_mse,
        validation_mse,
        train_mse_all: train_mse,
        validation_mse_all: validation_mse,
        seconds: 0.1,
    };
    let epochs = vec![epoch(0.18, 0.177), epoch(0.01, 0.0035), epoch(0.0036, 0.0037)];
    let losses = plot::losses(&History::new(epochs).unwrap()).unwrap();
    assert_eq!(
        losses.alt(),
        "Line chart, error while training. x axis: epoch, 1 to 3; y axis: MSE (logarithmic). \
         Training MSE falls from 0.18 to 0.0036, validation MSE falls from 0.177 to 0.0037; \
         best validation MSE 0.0035 at epoch 2."
    );
    let one = plot::losses(&History::new(vec![epoch(0.5, 0.25)]).unwrap()).unwrap();
    assert!(
        one.alt().ends_with(
            "epoch, 1; y axis: MSE (logarithmic). Training MSE 0.5, validation MSE 0.25."
        )
    );

    let lines = [("a & <b>", &[(1.0, 2.0), (2.0, 1.0), (3.0, 4.0)][..]), ("point", &[(2.0, 3.0)])];
    let picture = plot::lines("A \"title\"", "step", "error", &lines).unwrap();
    assert_eq!(
        picture.alt(),
        "Line chart, A \"title\". x axis: step, 1 to 3; y axis: error, 1 to 4. 2 lines: a & <b> \
         rises from 2 to 4 (lowest 1 at 2, highest 4 at 3); point is 3 at 2."
    );
    check(&picture, &["a & <b>"]);
    let logarithmic = plot::log_lines("t", "x", "y", &lines).unwrap();
    assert!(logarithmic.alt().contains("y axis: y (logarithmic), 1 to 4"), "{}", logarithmic.alt());

    let errors = [0.5, 0.25, f64::NAN, 0.125];
    let heat_map = plot::heat_map("size", &[3, 6], "rate", &[0.01, 0.1], &errors).unwrap();
    assert_eq!(
        heat_map.alt(),
        "Heat map, Validation MSE after training. Rows: size, 3, 6; columns: rate, 0.01, 0.1. \
         Errors: 0.125 to 0.5; lowest 0.125 at size 6, rate 0.1."
    );

    let data = sine_cosine(SineCosine { series: 3, ..Default::default() }).unwrap();
    let data = data.with_targets(1).unwrap();
    let mut prediction = data.future().to_vec();
    prediction[0] += 1.0;
    prediction[25] -= 2.0;
    let prediction = data.forecast(prediction).unwrap();
    let alt = plot::predictions(&data, &prediction, 3).unwrap().alt().to_owned();
    let beginning = "Line chart, Predictions. 3 panels, series 0 to 2, 1 feature. x axis: time step, \
                     1 to 20, the past up to step 10; y axis: value, ";
    assert!(alt.starts_with(beginning), "{alt}");
    let end = "The prediction's MSE is 0.167 over all panels, lowest in series 1: 0.";
    assert!(alt.ends_with(end), "{alt}");
    let off = data.constant_forecast(0.25);
    let alt = plot::forecasts(&data, &prediction, &off, 1).unwrap().alt().to_owned();
    assert!(alt.contains("The prediction's MSE is 0.1. A band"), "{alt}");
    assert!(alt.ends_with("plus and minus 0.25."), "{alt}");

    let unrolled = plot::unrolled(&[20, 12], 50).unwrap().alt().to_owned();
    assert!(
        unrolled.contains(
            "2 recurrent layers unrolled over 50 steps; sizes from the input up: 20, 12."
        )
    );
    let model = Seq2Seq::stacked(1, &Hyperparameters::default()).unwrap();
    let diagram = plot::encoder_decoder(&model, 4, 10).unwrap().alt().to_owned();
    for part in ["2 layers of GRU cells", "reads 4 steps with 1 feature", "at each of 10 steps"] {
        assert!(diagram.contains(part), "{part} is not in {diagram}");
    }
    assert!(plot::cell(Cell::Lstm).unwrap().alt().contains("h' = o × tanh(c')"));
}

/// What the documentation of each function shows.
fn documented() -> Vec<(&'static str, Picture)> {
    let sine = SineCosine { series: 1, past_steps: 8, future_steps: 8, seed: 42 };
    let data = sine_cosine(sine).unwrap().with_targets(1).unwrap();
    let truth = data.forecast(data.future().to_vec()).unwrap();
    let prediction = truth.map(|_, _, value| 0.8 * value);
    let errors = truth.map(|step, _, _| 0.05 * (step + 1) as f32);
    let epoch = |n: u8| {
        let mse = 0.4 / f64::from(n);
        Epoch {
            loss: mse,
            train_mse: mse,
            validation_mse: 0.02 + mse,
            train_mse_all: mse,
            validation_mse_all: mse,
            seconds: 0.1,
        }
    };
    let history = History::new((1..=8).map(epoch).collect()).unwrap();
    let sweep: Vec<f64> = (1..=9u8).map(|i| f64::from(i % 7 + 1) / 100.0).collect();
    let prices: Vec<(f64, f64)> =
        (0..6u8).map(|i| (2014.0 + f64::from(i), 300.0 * 2f64.powi(i.into()))).collect();
    let (naive, network) = ([0.1, 0.3, 0.5, 0.6], [0.05, 0.1, 0.2, 0.35]);
    let waves = [
        ("a corner", &[(-1.0, 1.0), (0.0, 0.0), (1.0, 1.0)][..]),
        ("a line", &[(-1.0, 0.0), (1.0, 0.5)]),
    ];
    let model = Seq2Seq::stacked(1, &Hyperparameters::default()).unwrap();
    [
        (
            "by_step",
            plot::by_step("MSE", &[("repeat the last value", &naive), ("network", &network)]),
        ),
        ("cell", plot::cell(Cell::Gru)),
        ("encoder_decoder", plot::encoder_decoder(&model, 10, 10)),
        ("examples", plot::examples(&data, 1)),
        ("forecasts", plot::forecasts(&data, &prediction, &errors, 1)),
        (
            "heat_map",
            plot::heat_map(
                "hidden size",
                &[4, 8, 12],
                "learning rate",
                &[0.001, 0.005, 0.01],
                &sweep,
            ),
        ),
        ("lines", plot::lines("Two curves", "x", "y", &waves)),
        (
            "log_lines",
            plot::log_lines("A price that doubles", "year", "dollars", &[("price", &prices)]),
        ),
        ("losses", plot::losses(&history)),
        ("predictions", plot::predictions(&data, &prediction, 1)),
        ("unrolled", plot::unrolled(&[20, 20], 50)),
    ]
    .map(|(name, picture)| (name, picture.unwrap()))
    .into()
}

/// After a change to a picture `RENEW_PICTURES=1 cargo test --test pictures documentation` writes them
/// anew; then look at them in `cargo doc --open`.
#[test]
fn the_documentation_shows_what_is_drawn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plot/pictures");
    for (name, picture) in documented() {
        let path = folder.join(format!("{name}.svg"));
        // No wider than the page.
        let svg = picture.svg().replacen(
            "<svg ",
            "<svg style=\"display: block; max-width: 100%; height: auto\" ",
            1,
        );
        if std::env::var_os("RENEW_PICTURES").is_some() {
            fs::write(&path, svg).unwrap();
        } else {
            let same = fs::read_to_string(&path).is_ok_and(|present| present == svg);
            assert!(same, "{} is not what is drawn now; see this test", path.display());
        }
    }
}
