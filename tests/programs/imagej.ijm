// Opens LABELS and the selections of ROIS, measures them, and saves them again.
// Arguments: LABELS, ROIS, a table to write, a zip to write; one a line, for each image.
arguments = split(getArgument(), "\n");
setBatchMode(true);
run("Set Measurements...", "area mean min centroid redirect=None decimal=6");
for (first = 0; first < arguments.length; first += 4) {
    open(arguments[first]);
    roiManager("reset");
    roiManager("open", arguments[first + 1]);
    getPixelSize(unit, width, height);
    table = "name,area,x,y,min,max,pixels,pixel_width,pixel_height,unit\n";
    for (index = 0; index < roiManager("count"); index++) {
        roiManager("select", index);
        run("Clear Results");
        run("Measure");
        getRawStatistics(pixels);
        values = newArray("Area", "X", "Y", "Min", "Max");
        line = Roi.getName;
        for (i = 0; i < values.length; i++) {
            line += "," + d2s(getResult(values[i], 0), 6);
        }
        table += line + "," + pixels + "," + d2s(width, 6) + "," + d2s(height, 6) + "," + unit + "\n";
    }
    File.saveString(table, arguments[first + 2]);
    roiManager("deselect");
    roiManager("save", arguments[first + 3]);
    close();
}
