// Puts the nuclei of a folder of results on the images of a project, in QuPath 0.4 or newer.
// Set the folder, then: Run > Run for project, and choose the images. Untried: no QuPath was at hand.
def folder = "/path/to/results/geojson"

def name = getCurrentImageNameWithoutExtension()
def file = new File(folder, name + ".geojson")
if (!file.exists()) {
    println "No nuclei for " + name + ": there is no " + file
    return
}
clearDetections()
importObjectsFromFile(file.getPath())
println getDetectionObjects().size() + " nuclei on " + name
