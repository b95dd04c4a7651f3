// Puts the nuclei of a folder of results on the images of a project, in QuPath 0.4 or newer.
// Set the folder, then: Run > Run for project, and choose the images. Detections that were on them are removed.
// Untried: no QuPath was at hand.
def folder = "/path/to/results/geojson"

// The name of the results: that of the file without its last suffix, "cells.ome" of cells.ome.tif.
def name = getCurrentImageName().replaceFirst(/\.[^.]*$/, "")
def file = new File(folder, name + ".geojson")
if (!file.exists()) {
    println "No nuclei for " + name + ": there is no " + file
    return
}
clearDetections()
importObjectsFromFile(file.getPath())
println getDetectionObjects().size() + " nuclei on " + name
