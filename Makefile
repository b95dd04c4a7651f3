# make run IMAGES=my_folder    set up, write masks of the nuclei in your images with the released model
# make run                     set up, then train, predict and score a small network on the bundled synthetic images
# make test                    set up, run all tests
# make quick                   set up, run the tests that take less than a minute together
# make lint                    set up, check style and types
# make docs                    set up, make the site of docs/, recipes and Python, in docs/_build
# make notebook [DATA=images]  set up, open the notebook that shows what is in a data set
#
# ARGS passes options on:      make run IMAGES=my_folder ARGS="--outputs masks table --diameter 40"

PYTHON ?= python3
MODEL  ?= models/nuclei
OUTPUT ?= predictions
ARGS   ?=
VENV   := .venv
BIN    := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -n auto --dist loadfile --ignore tests/napari_plugin
# Qt and TensorFlow in one process end it.
NAPARI := $(BIN)/python -m pytest tests/napari_plugin

# An interrupted training of the sample images is resumed, a finished one is replaced.
SAMPLE := models/sample/checkpoint
HOW    := $(if $(wildcard $(SAMPLE)/state.json),$(if $(wildcard $(SAMPLE)/finished),--overwrite,--resume))

.PHONY: run test quick notebook docs lint clean

ifdef IMAGES
run: $(VENV)/requirements-predict
	@$(BIN)/python predict_masks.py "$(IMAGES)" --model "$(MODEL)" --output "$(OUTPUT)" $(ARGS)
	@echo "Look at the results in $(OUTPUT)."
else
run: $(VENV)/requirements
	@echo "Training a small network on the bundled images, which are synthetic; this takes about three minutes."
	@$(BIN)/python train.py --base-filters 16 --crop-size 128 --epochs 40 --patience 9 $(HOW) $(ARGS)
	@$(BIN)/python predict_masks.py data/sample/test/images --model models/sample --output predictions/sample
	@$(BIN)/python evaluate_masks.py predictions/sample data/sample/test
	@echo "Look at the pictures in predictions/sample/overlays, and at models/sample/report.html."
	@echo "These images are synthetic: the figures say nothing about real ones. For yours: make run IMAGES=my_folder"
endif

test: $(VENV)/requirements-dev
	$(PYTEST) $(ARGS)
	$(NAPARI) $(ARGS) || [ $$? -eq 5 ]  # 5: ARGS choose none of them

quick: $(VENV)/requirements-dev
	$(PYTEST) -m "not slow" $(ARGS)
	$(NAPARI) -m "not slow" $(ARGS) || [ $$? -eq 5 ]

lint: $(VENV)/requirements-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/requirements-dev
	$(BIN)/python -m sphinx -q -W --keep-going docs docs/_build
	@echo "Open docs/_build/index.html."

notebook: $(VENV)/requirements-notebook
	$(BIN)/python -m jupyterlab exploratory_analysis.ipynb

clean:
	rm -rf $(VENV) models/sample predictions data/cache

# A file in the environment says what was installed, so that a second call goes straight to work.
$(VENV)/%: %.txt requirements.txt requirements-predict.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, this is $$($(PYTHON) --version); name another: make PYTHON=python3.12" >&2; \
	  exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $< into $(VENV) (prediction alone 0.7 GB, everything 3 GB) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
	@echo "To use the commands without make, activate the environment: source $(BIN)/activate"
