// Writes the corrected nuclei of each image of a project as truth for train.py, in QuPath 0.4 or newer.
// Set the folder, `masks` beside the folder `images`, then: Run > Run for project, and choose the images.
// Nuclei that were drawn by hand are annotations, those of import_nuclei.groovy detections: both are written, so
// delete all other annotations, such as regions, before. Untried: no QuPath was at hand.
def folder = "/path/to/to_correct/masks"

def nuclei = getDetectionObjects() + getAnnotationObjects()
mkdirs(folder)
// As the image without its last suffix: "cells.ome.geojson" for cells.ome.tif, which train.py pairs.
def name = getCurrentImageName().replaceFirst(/\.[^.]*$/, "")
def file = buildFilePath(folder, name + ".geojson")
exportObjectsToGeoJson(nuclei, file, "FEATURE_COLLECTION")
println nuclei.size() + " nuclei in " + file
