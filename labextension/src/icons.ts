/** The extension's own icon. */

import { LabIcon } from '@jupyterlab/ui-components';

import pipelineSvg from '../style/pipeline.svg';

export const pipelineIcon = new LabIcon({ name: 'kfp-magics:pipeline', svgstr: pipelineSvg });
