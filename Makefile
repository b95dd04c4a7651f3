# make run                     set up, train on the bundled sample images, write the masks of the sample test images
# make run IMAGES=my_folder    set up, write the masks of your images with the released model
# make test                    set up, run all tests
# make notebook [DATA=images]  set up, open the notebook that shows what is in a data set

PYTHON ?= python3
MODEL  ?= models/nuclei
OUTPUT ?= predictions
VENV   := .venv
BIN    := $(VENV)/bin

# A training of the sample images that was broken off is gone on with.
SAMPLE := models/sample/checkpoint
RESUME := $(if $(wildcard $(SAMPLE)/state.json),$(if $(wildcard $(SAMPLE)/finished),,--resume))

.PHONY: run test notebook lint clean

ifdef IMAGES
run: $(VENV)/requirements-predict
	@$(BIN)/python predict_masks.py "$(IMAGES)" --model "$(MODEL)" --output "$(OUTPUT)"
	@echo "Look at the pictures in $(OUTPUT)/overlays."
else
run: $(VENV)/requirements
	@$(BIN)/python train.py --base-filters 16 --crop-size 128 --epochs 40 --patience 9 $(RESUME)
	@$(BIN)/python predict_masks.py data/sample/test/images --model models/sample --output predictions/sample
	@$(BIN)/python evaluate_masks.py predictions/sample data/sample/test
	@echo "Look at the pictures in predictions/sample/overlays, and at models/sample/report.html."
endif

test: $(VENV)/requirements-dev
	$(BIN)/python -m pytest

notebook: $(VENV)/requirements-notebook
	$(BIN)/python -m jupyterlab exploratory_analysis.ipynb

lint: $(VENV)/requirements-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) models/sample predictions data/cache

# A file in the environment tells what was installed, so that a second call goes straight to work.
$(VENV)/%: %.txt requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { \
	  echo "Python 3.11, 3.12 or 3.13 is needed, this is $$($(PYTHON) --version); name another: make PYTHON=python3.12" >&2; \
	  exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing $< into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
