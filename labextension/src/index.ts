/** Runs of Kubeflow Pipelines in JupyterLab: one plugin for each place where they are seen. */

import type { JupyterFrontEndPlugin } from '@jupyterlab/application';

import './view/style.css';
import '../style/panel.css';

import { core } from './plugins/core';
import { documents } from './plugins/documents';
import { notebook } from './plugins/notebook';
import { panel } from './plugins/panel';
import { status } from './plugins/status';

const plugins: JupyterFrontEndPlugin<unknown>[] = [core, panel, documents, notebook, status];

export default plugins;
